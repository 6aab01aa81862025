//! What OpenTelemetry and a recorder of metrics get of operations.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use ripcord::Context;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::common::TestPool;

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name)?;
    Some(found.value.as_str().into_owned())
}

/// Runs three statements: one succeeds, one is refused, one finds that its deadline has passed.
async fn three(test: &TestPool) {
    let ctx = Context::background();
    test.pool.query(&ctx, "SELECT i FROM t", (), |row| row.get::<_, i64>(0)).await.expect("nothing ends it");
    let missing = test.pool.execute(&ctx, "SELECT 1 FROM missing", ());
    missing.await.expect_err("there is no such table");
    let late = test.pool.execute(&ctx.with_timeout(Duration::ZERO), "SELECT 1", ());
    late.await.expect_err("the context is done");
}

/// Returns the spans that OpenTelemetry gets of [`three`].
async fn exported(test: TestPool) -> Vec<SpanData> {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    three(&test).await;
    exporter.get_finished_spans().expect("the exporter is running")
}

#[tokio::test]
async fn spans_have_the_attributes_of_the_conventions() {
    let spans = exported(TestPool::with(|builder| builder.name("shop.db"))).await;
    let [done, refused, late] = &spans[..] else { panic!("{spans:?}") };
    for span in [done, refused, late] {
        assert_eq!((span.name.as_ref(), span.span_kind.clone()), ("SELECT shop.db", SpanKind::Client));
        for (name, value) in
            [("db.system.name", "sqlite"), ("db.namespace", "shop.db"), ("db.operation.name", "SELECT")]
        {
            assert_eq!(attribute(span, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(attribute(span, "db.query.text"), None, "the text may contain values");
    }
    assert_eq!((&done.status, attribute(done, "error.type")), (&Status::Unset, None));
    assert_eq!(attribute(refused, "db.response.status_code").as_deref(), Some("Unknown"));
    assert!(matches!(&refused.status, Status::Error { description } if description.contains("no such table: missing")));
    assert_eq!(attribute(late, "error.type").as_deref(), Some("timeout"));
}

#[tokio::test]
async fn text_of_statements_is_recorded_if_asked_for() {
    let spans = exported(TestPool::with(|builder| builder.query_text(true))).await;
    assert_eq!(attribute(&spans[0], "db.query.text").as_deref(), Some("SELECT i FROM t"));
}

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
