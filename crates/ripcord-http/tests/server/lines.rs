//! Tests that ends report lines of the user's code, never lines of this crate.

use std::panic::Location;

use axum::{Router, routing::any};
use ripcord::{Context, Error};
use ripcord_http::{
    TrustPolicy,
    server::{ContextLayer, Ctx},
};
use tokio::sync::mpsc::unbounded_channel;

use crate::common::{SECOND, poll_once, request, send, server, text};

/// Sends a request to a handler that waits, and returns the end of its context.
async fn end_of(layer: ContextLayer, header: Option<(&'static str, &'static str)>) -> Error {
    let (begin, mut started) = unbounded_channel();
    let handler = any(move |Ctx(ctx): Ctx| {
        begin.send(ctx.clone()).expect("the test listens");
        async move { ctx.done().await.to_string() }
    });
    let app = Router::new().route("/", handler).layer(layer);
    let mut request = request("/");
    if let Some((name, value)) = header {
        request.headers_mut().insert(name, value.parse().expect("a header's value"));
    }
    drop(text(send(&app, request).await).await);
    started.recv().await.expect("the handler was called").err().expect("it has ended")
}

#[track_caller]
fn assert_line(error: &Error, line: u32) {
    let location = error.origin().location();
    assert_eq!((location.file(), location.line()), (Location::caller().file(), line), "{error:#}");
    assert!(!format!("{error:#}").contains("ripcord-http/src"), "{error:#}");
}

#[tokio::test(start_paused = true)]
async fn deadline_reports_the_line_of_the_setting() {
    let layer = ContextLayer::new(&server());
    let timed = layer.clone().timeout(SECOND);
    assert_line(&end_of(timed, None).await, line!() - 1);

    let trusting = layer.clone().trust(TrustPolicy::untrusted().with_max_timeout(SECOND));
    assert_line(&end_of(trusting, None).await, line!() - 1);

    let clamped = layer.timeout(SECOND);
    assert_line(&end_of(clamped, Some(("x-request-timeout-ms", "5000"))).await, line!() - 1);
}

#[tokio::test(start_paused = true)]
async fn deadline_of_a_header_reports_the_line_of_the_layer() {
    let layer = ContextLayer::new(&server());
    let line = line!() - 1;
    assert_line(&end_of(layer, Some(("x-request-timeout-ms", "500"))).await, line);
}

#[tokio::test(start_paused = true)]
async fn answer_disconnect_and_panic_report_the_line_of_the_layer() {
    let layer = ContextLayer::new(&server());
    let line = line!() - 1;
    let (begin, mut started) = unbounded_channel();
    let handler = |waits: bool, panics: bool| {
        let begin = begin.clone();
        any(move |Ctx(ctx): Ctx| {
            begin.send(ctx).expect("the test listens");
            async move {
                assert!(!panics, "out of cheese");
                if waits {
                    std::future::pending::<()>().await;
                }
            }
        })
    };
    for (waits, panics) in [(false, false), (false, true), (true, false)] {
        let app = Router::new().route("/", handler(waits, panics)).layer(layer.clone());
        {
            let mut response = std::pin::pin!(send(&app, request("/")));
            let answered = poll_once(response.as_mut()).await;
            assert_eq!(answered.is_pending(), waits);
            if let std::task::Poll::Ready(response) = answered {
                drop(text(response).await);
            }
        }
        let ctx: Context = started.recv().await.expect("the handler was called");
        assert_line(&ctx.err().expect("it has ended"), line);
    }
}
