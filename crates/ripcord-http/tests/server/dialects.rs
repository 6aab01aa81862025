//! Tests every dialect in `Dialect::ALL` with the server and the client. A dialect that either of them ignores fails here.

use std::{convert::Infallible, future::ready, time::Duration};

use http::{HeaderName, Request, Response};
use ripcord::{Clock, Context};
use ripcord_http::{
    TrustPolicy,
    client::{ClientLayer, RequestExt as _},
    deadline::Dialect,
    server::{ContextLayer, DeadlineSource},
};
use tower::{Layer as _, ServiceExt as _, service_fn};

/// Returns a value of one second for a relative dialect. For an absolute dialect, returns a value without time left.
fn value(dialect: Dialect) -> String {
    match dialect.name() {
        "amz-sdk-request" => "ttl=20200724T181920Z".to_owned(),
        "finagle-ctx-com.twitter.finagle.deadline" => "0 1".to_owned(),
        _ => dialect.encode(Duration::from_secs(1)).expect("a relative dialect is sent").as_str().to_owned(),
    }
}

/// Sends a request with this header, and returns the source of the deadline that the handler sees.
async fn source_of(layer: ContextLayer, name: HeaderName, value: &str) -> Option<DeadlineSource> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let ended = layer.clone().on_end(move |request| {
        sender.send(DeadlineSource::from_context(request.ctx)).expect("the test listens");
    });
    let service =
        ended.layer(service_fn(|_: Request<String>| ready(Ok::<_, Infallible>(Response::new(String::new())))));
    let request = Request::builder().header(name, value).body(String::new()).expect("well-formed");
    drop(service.oneshot(request).await);
    receiver.try_recv().ok()
}

#[tokio::test(start_paused = true)]
async fn server_reads_every_dialect() {
    let server = Context::background().with_clock(Clock::tokio());
    for &dialect in Dialect::ALL {
        let layer = ContextLayer::new(&server).timeout(Duration::from_secs(60)).absolute_deadlines(true);
        let trusting = layer.clone().trust(TrustPolicy::trusted());
        let source = source_of(trusting.clone(), dialect.header(), &value(dialect)).await;
        assert_eq!(source, Some(DeadlineSource::Header(dialect.name())), "{dialect:?}");
        assert_eq!(trusting.stats().malformed().map(|(_, count)| count).sum::<u64>(), 0, "{dialect:?}");

        let source = source_of(layer, dialect.header(), &value(dialect)).await;
        let expected = match dialect.needs_trust() {
            true => DeadlineSource::Local,
            false => DeadlineSource::Header(dialect.name()),
        };
        assert_eq!(source, Some(expected), "{dialect:?} from an untrusted client");
    }
}

#[tokio::test(start_paused = true)]
async fn server_counts_malformed_values_of_every_dialect() {
    for &dialect in Dialect::ALL {
        let layer = ContextLayer::new(&Context::background()).absolute_deadlines(true).trust(TrustPolicy::trusted());
        source_of(layer.clone(), dialect.header(), "no deadline=").await;
        let malformed: Vec<_> = layer.stats().malformed().filter(|(_, count)| *count > 0).collect();
        assert_eq!(malformed, [(dialect.name(), 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn client_sends_what_the_server_reads_in_every_relative_dialect() {
    let server = Context::background().with_clock(Clock::tokio());
    for &dialect in Dialect::ALL.iter().filter(|dialect| !dialect.is_absolute()) {
        let served =
            ContextLayer::new(&server).trust(TrustPolicy::trusted()).layer(service_fn(|request: Request<String>| {
                let ctx = request.extensions().get::<Context>().expect("the layer inserted one");
                ready(Ok::<_, Infallible>(Response::new(format!(
                    "{:?} {:?}",
                    DeadlineSource::from_context(ctx),
                    ctx.remaining()
                ))))
            }));
        // Passes on only the headers of the request, like a network.
        let wire = service_fn(move |request: Request<String>| {
            let mut sent = Request::new(String::new());
            *sent.headers_mut() = request.headers().clone();
            served.clone().oneshot(sent)
        });
        let ctx = server.with_timeout(Duration::from_secs(7));
        let call = ClientLayer::new().dialect(dialect).layer(wire);
        let response = call.oneshot(Request::new(String::new()).with_context(&ctx)).await.expect("it answers");
        let body = http_body_util::BodyExt::collect(response.into_body()).await.expect("a body").to_bytes();
        let expected = format!("{:?} {:?}", DeadlineSource::Header(dialect.name()), Some(Duration::from_secs(7)));
        assert_eq!(body, expected.as_bytes(), "{dialect:?}");
    }
}
