//! The metrics of the feature `metrics`, as an exporter sees them.

use metrics_exporter_prometheus::PrometheusBuilder;
use ripcord::{Context, block_on};
use ripcord_policy::CircuitBreaker;
use ripcord_redis::{ContextExt, Hub, OnOutage, SharedBreaker, describe_metrics};

use crate::limiter::{SLOW, limiter};
use crate::server::{Server, client, until};

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

pub(crate) fn hub_and_breakers_record_their_counters() {
    let server = Server::start();
    let client = client(&server);
    let (hub, shared) = (Hub::new(&client), SharedBreaker::new(&client));
    let breaker = CircuitBreaker::builder("users").consecutive_failures(1).shared(shared.clone()).build();
    let ctx = Context::background().bind(&hub, "other");
    let canceled = Context::background().bind(&hub, "order");
    for is_first in [true, false] {
        assert_eq!(block_on(hub.cancel(&Context::background(), "order", "gone")).expect("Redis answers"), is_first);
    }
    let breaker = breaker.expect("valid settings");
    breaker.try_acquire().expect("admitted").failure();
    until("the change is sent", || shared.stats().published == 1);
    until("the marker is read", || hub.stats().unread == 0);
    let text = rendered(|| {
        hub.record_metrics();
        shared.record_metrics();
    });
    let samples = [
        r#"ripcord_redis_hub_contexts{prefix="ripcord"} 1"#,
        r#"ripcord_redis_hub_unread{prefix="ripcord"} 0"#,
        r#"ripcord_redis_hub_canceled_total{prefix="ripcord"} 1"#,
        r#"ripcord_redis_hub_cancels_total{prefix="ripcord",result="won"} 1"#,
        r#"ripcord_redis_hub_cancels_total{prefix="ripcord",result="lost"} 1"#,
        r#"ripcord_redis_breaker_breakers{prefix="ripcord"} 1"#,
        r#"ripcord_redis_breaker_published_total{prefix="ripcord"} 1"#,
        r#"ripcord_redis_breaker_failures_total{prefix="ripcord"} 0"#,
        r#"ripcord_redis_breaker_changes_total{prefix="ripcord",state="open"} 0"#,
    ];
    assert_has(&text, &samples);
    let described = |metric: &str| text.lines().any(|line| line.starts_with(&format!("# HELP {metric} ")));
    let recorded = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    recorded.for_each(|metric| assert!(described(metric), "{metric} has no help text"));
    assert!(canceled.is_done() && !ctx.is_done());
}
