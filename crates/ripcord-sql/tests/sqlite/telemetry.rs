//! What a recorder of metrics gets of operations.

use metrics_exporter_prometheus::PrometheusBuilder;
use ripcord::Context;

use crate::common::TestPool;

// The recorder of the process, because operations run on other threads too. No other test uses these operations.
#[tokio::test]
async fn operations_are_recorded_as_metrics() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let text = recorder.handle();
    metrics::set_global_recorder(recorder).expect("no other test sets one");
    ripcord_sql::describe_metrics();

    let mut test = TestPool::new();
    let ctx = Context::background();
    test.pool.execute(&ctx, "ANALYZE", ()).await.expect("nothing ends it");
    let endless =
        "REPLACE INTO t WITH RECURSIVE n(i) AS (SELECT started() UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let (canceled, cancel) = ctx.with_cancel();
    let replacing = tokio::spawn(test.pool.execute(&canceled, endless, ()));
    test.started().await;
    cancel.cancel();
    replacing.await.expect("no panic").expect_err("it is stopped");

    let text = text.render();
    let value = |sample: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse::<f64>().expect("a number")
    };
    let duration = |labels: &str| value(&format!("ripcord_sql_operation_duration_seconds_count{{{labels}}}"));
    assert_eq!(duration("system=\"sqlite\",operation=\"ANALYZE\",outcome=\"ok\""), 1.0);
    assert_eq!(duration("system=\"sqlite\",operation=\"REPLACE\",outcome=\"canceled\""), 1.0);
    assert!(value("ripcord_sql_connection_wait_seconds_count{system=\"sqlite\"}") >= 2.0);
    assert!(value("ripcord_sql_cancels_total{system=\"sqlite\"}") >= 1.0);
}
