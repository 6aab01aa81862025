//! Tests the data that the spans of requests and calls record at each kind of end. `docs/telemetry.md`, a part of the crate's docs,
//! contains this data as a table. To write the table again: `UPDATE_TELEMETRY=1 cargo test -p ripcord-http --test telemetry`.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use futures::future::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use opentelemetry::trace::{SpanKind, Status, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use ripcord::{Clock, Context, Group, ManualTime, Shutdown};
use ripcord_http::TrustPolicy;
use ripcord_http::client::{ClientLayer, RequestExt as _};
use ripcord_http::server::{ContextLayer, Ended};
use ripcord_http::trace_context::with_tracing;
use ripcord_policy::{Hedge, Stack};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tracing::subscriber::set_default;
use tracing_subscriber::layer::SubscriberExt as _;

const SECOND: Duration = Duration::from_secs(1);

/// The rows of the table.
struct Table {
    text: String,
    root: Context,
    time: ManualTime,
}

impl Table {
    fn new() -> Self {
        let (clock, time) = Clock::manual();
        let text = "| situation | span | status | `error.type` | `ripcord.end` | `.cause` | `.name` |\n|---|---|---|---|---|---|---|\n";
        Table { text: text.to_owned(), root: Context::background().with_clock(clock).with_name("serve"), time }
    }

    /// Adds a row for each span that `run` ends.
    async fn add(&mut self, situation: &str, run: impl AsyncFnOnce(Context, ManualTime)) {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let listening = set_default(tracing_subscriber::registry().with(layer));
        run(self.root.clone(), self.time.clone()).await;
        drop(listening);
        let spans = exporter.get_finished_spans().expect("they are in memory");
        assert!(!spans.is_empty(), "{situation}");
        for span in spans {
            self.add_row(situation, &span);
        }
    }

    fn add_row(&mut self, situation: &str, span: &SpanData) {
        let attribute = |key: &str| {
            let value = span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string());
            value.map_or_else(|| "-".to_owned(), |value| value.replace('|', "\\|"))
        };
        assert!(span.attributes.iter().all(|pair| pair.key.as_str() != "error"), "{span:#?}");
        let kind = match span.span_kind {
            SpanKind::Server => "request",
            SpanKind::Client => "call",
            _ => "own",
        };
        let status = match span.status {
            Status::Unset => "unset",
            Status::Ok => "ok",
            Status::Error { .. } => "error",
        };
        let (error, end) = (attribute("error.type"), attribute("ripcord.end"));
        let (cause, name) = (attribute("ripcord.end.cause"), attribute("ripcord.end.name"));
        writeln!(self.text, "| {situation} | {kind} | {status} | {error} | {end} | {cause} | {name} |")
            .expect("a string");
    }
}

/// Sends a request through a layer with this timeout and spans.
async fn request<F>(server: &Context, timeout: Duration, handler: impl Fn(Context) -> F + Clone)
where
    F: Future<Output = Result<StatusCode, Ended>>,
{
    let layer = ContextLayer::new(server).timeout(timeout).tracing();
    let service = service_fn(move |request: Request<Body>| {
        let handler = handler.clone();
        async move {
            let ctx = request.extensions().get::<Context>().expect("the layer inserted one").clone();
            let response = match handler(ctx).await {
                Ok(status) => Response::builder().status(status).body(Body::empty()).expect("a valid response"),
                Err(ended) => axum::response::IntoResponse::into_response(ended),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let response = layer.layer(service).oneshot(Request::new(Body::empty())).await.expect("infallible");
    let _ = response.into_body().collect().await;
}

/// Makes a call and reads the answer, which is sent after `delay`.
async fn call(ctx: Context, delay: Option<Duration>) -> Result<(), ripcord_http::client::Error> {
    let clock = Context::background().with_clock(ctx.clock());
    let peer = service_fn(move |_: Request<Body>| {
        let clock = clock.clone();
        async move {
            match delay {
                Some(delay) => clock.sleep(delay).await.map_err(std::io::Error::from)?,
                None => std::future::pending().await,
            }
            Ok::<_, std::io::Error>(Response::new(Body::empty()))
        }
    });
    let request = Request::get("http://peer/").body(Body::empty()).expect("a valid request");
    let response = ClientLayer::new().layer(peer).call(request.with_context(&with_tracing(&ctx))).await?;
    response.into_body().collect().await?;
    Ok(())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of situations")]
async fn spans_record_what_the_docs_say() {
    let mut table = Table::new();
    table.add("success", async |root, _| request(&root, 5 * SECOND, async |_| Ok(StatusCode::OK)).await).await;
    table.add("success", async |root, _| call(root, Some(Duration::ZERO)).await.expect("it is answered")).await;
    table
        .add("failure: status 500", async |root, _| {
            request(&root, 5 * SECOND, async |_| Ok(StatusCode::INTERNAL_SERVER_ERROR)).await;
        })
        .await;
    table
        .add("the caller cancels", async |root, _| {
            let (ctx, cancel) = root.with_name("job").with_cancel();
            let mut call = pin!(call(ctx, None));
            assert!(call.as_mut().now_or_never().is_none());
            cancel.cancel_with("superseded");
            call.await.expect_err("it was canceled");
        })
        .await;
    table
        .add("the client disconnects", async |root, _| {
            let mut request = Box::pin(request(&root, 5 * SECOND, async |_| std::future::pending().await));
            assert!(request.as_mut().now_or_never().is_none());
        })
        .await;
    table
        .add("a trusted client cancels and says why", async |root, _| {
            let layer = ContextLayer::new(&root).trust(TrustPolicy::trusted()).remote_cancel(true).tracing();
            let stuck = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
            let mut service = layer.layer(stuck);
            let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let request = Request::get("/").header("traceparent", traceparent).body(Body::empty());
            let mut request = Box::pin(service.call(request.expect("a valid request")));
            assert!(request.as_mut().now_or_never().is_none());
            let cancel = Request::options("/").header("ripcord-cancel", traceparent);
            let cancel = cancel.header("ripcord-cause", "GET /a: client disconnected").body(Body::empty());
            let _ = service.call(cancel.expect("a valid request")).await;
        })
        .await;
    table
        .add("the deadline", async |root, time| {
            let handler = async |ctx: Context| Ok(ctx.sleep(60 * SECOND).await.map(|()| StatusCode::OK)?);
            let mut request = pin!(request(&root, 5 * SECOND, handler));
            assert!(request.as_mut().now_or_never().is_none());
            time.advance(5 * SECOND);
            request.await;
        })
        .await;
    table
        .add("an attempt timeout", async |root, time| {
            let stack: Stack<(), ripcord_http::client::Error> =
                Stack::builder().attempt_timeout(SECOND).build().expect("a valid stack");
            let mut run = pin!(stack.run(&root, |ctx| call(ctx, None)));
            assert!(run.as_mut().now_or_never().is_none());
            time.advance(SECOND);
            run.await.expect_err("it timed out");
        })
        .await;
    table
        .add("a hedge: the winner, then the loser", async |root, time| {
            let hedge = Hedge::after(SECOND).build().expect("a valid hedge");
            let mut delays = [None, Some(Duration::ZERO)].into_iter();
            let mut run = pin!(hedge.run(&root, |ctx| call(ctx, delays.next().expect("two calls"))));
            assert!(run.as_mut().now_or_never().is_none());
            time.advance(SECOND);
            run.await.expect("the second call wins");
        })
        .await;
    table
        .add("a panic", async |root, _| {
            let panics = async |_: Context| -> Result<StatusCode, Ended> { panic!("on purpose") };
            let _ = AssertUnwindSafe(request(&root, 5 * SECOND, panics)).catch_unwind().await;
        })
        .await;
    table
        .add("the drain ends before the request", async |root, time| {
            let shutdown = Shutdown::builder().context(&root).drain(10 * SECOND).build();
            let ctx = shutdown.context().clone();
            let handler = |ctx: Context| async move {
                ctx.draining().await;
                Err(Ended::from(ctx.done().await))
            };
            let mut request = pin!(request(&ctx, 60 * SECOND, handler));
            assert!(request.as_mut().now_or_never().is_none());
            shutdown.begin("SIGTERM");
            assert!(request.as_mut().now_or_never().is_none(), "a drain cancels nothing");
            time.advance(10 * SECOND);
            request.await;
        })
        .await;
    table
        .add("a group cancels the sibling of a failed task", async |root, _| {
            let (group, ctx) = Group::new(&root);
            group.go(async move {
                let (ctx, _span) = ctx.start_span("sibling");
                ctx.done().await;
                Err::<(), _>(ctx.err().expect("it has ended"))
            });
            tokio::task::yield_now().await;
            group.go(async { Err::<(), _>(std::io::Error::other("broken")) });
            group.wait().await.expect_err("one task failed");
        })
        .await;
    table
        .add("a dropped `Canceler`", async |root, _| {
            let (ctx, cancel) = root.with_cancel();
            let (ctx, span) = ctx.start_span("work");
            drop(cancel);
            drop((ctx, span));
        })
        .await;

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/telemetry.md");
    if std::env::var_os("UPDATE_TELEMETRY").is_some() {
        std::fs::write(path, &table.text).expect("the docs are writable");
    }
    let documented = std::fs::read_to_string(path).expect("the docs are there");
    assert_eq!(
        table.text, documented,
        "write it again: UPDATE_TELEMETRY=1 cargo test -p ripcord-http --test telemetry"
    );
}
