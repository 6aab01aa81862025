//! What the inspector, OpenTelemetry and a recorder of metrics get of statements.

use std::thread;

use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use ripcord_sql::postgres::{Pool, PoolBuilder};
use tokio::runtime::Builder;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::common::{Fixture, background, within};

/// Runs `work` on one thread that has no other runtime.
fn alone<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| Builder::new_current_thread().enable_all().build().unwrap().block_on(work()));
        thread.join().unwrap()
    })
}

/// Runs three statements: one succeeds, one is refused, one is canceled.
async fn three(pool: &Pool) {
    pool.query(&background(), "select 1", &[]).await.unwrap();
    pool.query(&background(), "SELECT 1 FROM missing", &[]).await.unwrap_err();
    pool.query(&within(50), "SELECT pg_sleep(60)", &[]).await.unwrap_err();
}

/// Returns the spans that OpenTelemetry gets of [`three`].
fn exported(builder: PoolBuilder) -> Vec<SpanData> {
    alone(async || {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        three(&builder.build().unwrap()).await;
        exporter.get_finished_spans().unwrap()
    })
}

fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name)?;
    Some(found.value.as_str().into_owned())
}

pub(crate) async fn statements_are_spans_of_the_callers_line(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let (ctx, request) = background().start_span("request");
    pool.query(&ctx, "select 1", &[]).await.unwrap();
    let line = line!() - 1;
    let transaction = pool.transaction(&ctx).await.unwrap();
    transaction.execute(&ctx, "CREATE TEMP TABLE traced (id int) ON COMMIT DROP", &[]).await.unwrap();
    let mut rows = transaction.query_stream(&ctx, "SELECT 1 FROM traced", &[]).await.unwrap();
    assert!(rows.next().await.is_none());
    transaction.commit(&ctx).await.unwrap();
    let tree = request.end();
    let names: Vec<_> = tree.snapshots().iter().map(|span| (span.depth(), span.name().to_owned())).collect();
    let expected = [
        (0, "request"),
        (1, "SELECT postgres"),
        (1, "transaction postgres"),
        (2, "CREATE postgres"),
        (2, "SELECT postgres"),
    ];
    assert_eq!(names, expected.map(|(depth, name)| (depth, name.to_owned())));
    let statement = &tree.snapshots()[1];
    assert_eq!((statement.location().file(), statement.location().line()), (file!(), line));
    assert!(tree.snapshots().iter().all(|span| span.is_ended()));
}

pub(crate) async fn spans_have_the_attributes_of_the_conventions(fixture: &Fixture<'_>) {
    let spans = exported(fixture.builder());
    let [done, refused, canceled] = &spans[..] else { panic!("{spans:?}") };
    for span in [done, refused, canceled] {
        assert_eq!((span.name.as_ref(), span.span_kind.clone()), ("SELECT postgres", SpanKind::Client));
        let expected = [
            ("db.system.name", "postgresql"),
            ("db.namespace", "postgres"),
            ("db.operation.name", "SELECT"),
            ("server.port", "5432"),
        ];
        for (name, value) in expected {
            assert_eq!(attribute(span, name).as_deref(), Some(value), "{name}");
        }
        let directory = fixture.server.socket().parent().unwrap().display().to_string();
        assert_eq!(attribute(span, "server.address"), Some(directory));
        // It may contain values, so nobody gets it unasked.
        assert_eq!(attribute(span, "db.query.text"), None);
    }
    assert_eq!((attribute(done, "error.type"), &done.status), (None, &Status::Unset));
    assert_eq!(attribute(refused, "error.type").as_deref(), Some("42P01"));
    assert_eq!(attribute(refused, "db.response.status_code").as_deref(), Some("42P01"));
    assert!(matches!(refused.status, Status::Error { .. }));
    assert_eq!(attribute(canceled, "error.type").as_deref(), Some("timeout"));
    assert_eq!(attribute(canceled, "db.response.status_code"), None);

    let spans = exported(fixture.builder().query_text(true));
    assert_eq!(attribute(&spans[0], "db.query.text").as_deref(), Some("select 1"));
}

pub(crate) async fn statements_are_recorded_by_operation_and_outcome(fixture: &Fixture<'_>) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let builder = fixture.builder();
    thread::scope(|scope| {
        let recording = || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            metrics::with_local_recorder(&recorder, || {
                runtime.block_on(async { three(&builder.build().unwrap()).await })
            });
        };
        scope.spawn(recording).join().unwrap();
    });
    let text = handle.render();
    let duration = r#"ripcord_sql_operation_duration_seconds_count{system="postgresql",operation="SELECT",outcome="#;
    for expected in [
        format!(r#"{duration}"ok"}} 1"#),
        format!(r#"{duration}"42P01"}} 1"#),
        format!(r#"{duration}"timeout"}} 1"#),
        r#"ripcord_sql_connection_wait_seconds_count{system="postgresql"} 3"#.to_owned(),
        r#"ripcord_sql_cancels_total{system="postgresql"} 1"#.to_owned(),
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected}:\n{text}");
    }
    assert!(!text.contains("discarded"));
}
