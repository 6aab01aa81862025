//! The metrics of the feature `metrics`, as an exporter sees them.

use metrics_exporter_prometheus::PrometheusBuilder;
use ripcord_redis::{OnOutage, describe_metrics};

use crate::limiter::{SLOW, client, limiter};
use crate::server::{Server, until};

/// Returns the text that an exporter renders for the metrics of `record`.
fn rendered(record: impl FnOnce()) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        describe_metrics();
        record();
    });
    handle.render()
}

fn assert_has(text: &str, samples: &[&str]) {
    for sample in samples {
        assert!(text.lines().any(|line| line == *sample), "{sample} is not in\n{text}");
    }
}

pub(crate) fn limiter_and_client_record_their_mode_and_counters() {
    let mut server = Server::start();
    let client = client(&server);
    let (limiter, backend) = limiter(&client, SLOW, 1, OnOutage::Open);
    assert!(limiter.allow() && !limiter.allow() && !limiter.allow());
    let text = rendered(|| {
        client.record_metrics();
        backend.record_metrics();
    });
    let samples = [
        r#"ripcord_redis_available{prefix="ripcord"} 1"#,
        r#"ripcord_redis_peers{prefix="ripcord"} 1"#,
        r#"ripcord_redis_failures_total{prefix="ripcord"} 0"#,
        r#"ripcord_redis_limiter_mode{name="api",mode="connected"} 1"#,
        r#"ripcord_redis_limiter_mode{name="api",mode="open"} 0"#,
        r#"ripcord_redis_limiter_decisions_total{name="api",mode="connected"} 2"#,
        r#"ripcord_redis_limiter_saved_total{name="api"} 1"#,
        r#"ripcord_redis_limiter_denied_keys{name="api"} 1"#,
    ];
    assert_has(&text, &samples);
    server.kill();
    until("the failure is known", || !client.is_available());
    assert!(limiter.allow());
    let text = rendered(|| {
        client.record_metrics();
        backend.record_metrics();
    });
    let samples = [
        r#"ripcord_redis_available{prefix="ripcord"} 0"#,
        r#"ripcord_redis_limiter_mode{name="api",mode="open"} 1"#,
        r#"ripcord_redis_limiter_decisions_total{name="api",mode="open"} 1"#,
    ];
    assert_has(&text, &samples);
}
