//! The spans that OpenTelemetry gets of operations.
//!
//! All tests of this file have a subscriber. A test without one, which reaches a span of the library for the first time at the same
//! moment, could make `tracing` disable this span for all threads.

#![cfg(feature = "sqlite")]

use std::time::Duration;

use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use ripcord::Context;
use ripcord_sql::sqlite::{Pool, PoolBuilder, rusqlite::Connection};
use tracing_subscriber::layer::SubscriberExt as _;

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name)?;
    Some(found.value.as_str().into_owned())
}

/// Runs three statements: one succeeds, one is refused, one finds that its deadline has passed.
async fn three(pool: &Pool) {
    let ctx = Context::background();
    pool.query(&ctx, "SELECT i FROM t", (), |row| row.get::<_, i64>(0)).await.expect("nothing ends it");
    let missing = pool.execute(&ctx, "SELECT 1 FROM missing", ());
    missing.await.expect_err("there is no such table");
    let late = pool.execute(&ctx.with_timeout(Duration::ZERO), "SELECT 1", ());
    late.await.expect_err("the context is done");
}

/// Returns the spans that OpenTelemetry gets of [`three`].
async fn exported(change: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Vec<SpanData> {
    let init = |connection: &mut Connection| connection.execute_batch("CREATE TABLE t (i INTEGER)");
    let builder = Pool::builder(Connection::open_in_memory).max_size(1).init(init);
    let pool = change(builder).build().expect("a size above 0");
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    three(&pool).await;
    exporter.get_finished_spans().expect("the exporter is running")
}

#[tokio::test]
async fn spans_have_the_attributes_of_the_conventions() {
    let spans = exported(|builder| builder.name("shop.db")).await;
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
    let spans = exported(|builder| builder.query_text(true)).await;
    assert_eq!(attribute(&spans[0], "db.query.text").as_deref(), Some("SELECT i FROM t"));
}
