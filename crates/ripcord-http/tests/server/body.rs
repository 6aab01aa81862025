//! Tests the body of a response: the frames that it passes on, the cuts, and the end of the request.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    pin::{Pin, pin},
    task::{self, Poll},
};

use axum::body::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty, Full};
use ripcord::{Canceler, Clock, Context, ManualTime};
use ripcord_http::server::{ClientDisconnected, ContextBody, ContextLayer, Ended, ServerStats};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::common::{SECOND, assert_answered, poll_once};

// ===== A scripted body =====

enum Step {
    Data(&'static str),
    Trailers,
    Wait,
    Fail,
    Panic,
}
use Step::{Data, Fail, Panic, Trailers, Wait};

/// A body that follows these steps and then ends. `knows_end` is whether `is_end_stream` reports the end before the last poll.
struct Steps {
    steps: VecDeque<Step>,
    knows_end: bool,
}

impl Steps {
    fn new(steps: impl Into<VecDeque<Step>>) -> Self {
        Steps { steps: steps.into(), knows_end: false }
    }

    fn that_know_their_end(steps: impl Into<VecDeque<Step>>) -> Self {
        Steps { steps: steps.into(), knows_end: true }
    }
}

impl Body for Steps {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(Wait) = self.steps.front() {
            // The body never continues, because nothing in these tests wakes it.
            return Poll::Pending;
        }
        Poll::Ready(self.steps.pop_front().map(|step| match step {
            Data(text) => Ok(Frame::data(text.into())),
            Trailers => {
                Ok(Frame::trailers(HeaderMap::from_iter([(HeaderName::from_static("checksum"), HeaderValue::from(7))])))
            }
            Fail => Err(io::Error::other("the disk is on fire")),
            Panic => panic!("out of cheese"),
            Wait => unreachable!("seen above"),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.knows_end && self.steps.is_empty()
    }
}

// ===== A request under a layer =====

struct Exchange<B: Body> {
    ctx: Context,
    layer: ContextLayer,
    time: ManualTime,
    server: Canceler,
    /// `None` once the body is dropped.
    body: Option<ContextBody<B>>,
}

/// Sends a request to `handler`, on a manual clock and with a timeout of five seconds.
async fn exchange<B>(method: Method, handler: impl FnOnce(&ManualTime) -> Response<B>) -> Exchange<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let (clock, time) = Clock::manual();
    let (server, cancel) = Context::background().with_clock(clock).with_cancel();
    let layer = ContextLayer::new(&server).timeout(5 * SECOND);
    let (seen, mut handler) = (std::cell::OnceCell::new(), Some(handler));
    let service = layer.layer(service_fn(|request: Request<()>| {
        let ctx = request.extensions().get::<Context>().expect("the layer gave one").clone();
        assert!(seen.set(ctx).is_ok());
        let (handler, time) = (handler.take().expect("called once"), time.clone());
        async move { Ok::<_, Infallible>(handler(&time)) }
    }));
    let request = Request::builder().method(method).body(()).expect("well-formed");
    let response = service.oneshot(request).await.unwrap_or_else(|never| match never {});
    Exchange { ctx: seen.into_inner().expect("called"), layer, time, server: cancel, body: Some(response.into_body()) }
}

async fn get<B>(body: B) -> Exchange<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    exchange(Method::GET, |_| Response::new(body)).await
}

impl<B> Exchange<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    /// Returns the next frame or the error as text.
    async fn frame(&mut self) -> Option<Result<String, String>> {
        let frame = self.body.as_mut()?.frame().await?;
        Some(frame.map_err(|error| error.to_string()).map(|frame| match frame.into_data() {
            Ok(data) => String::from_utf8(data.into()).expect("text"),
            Err(frame) => format!("{:?}", frame.into_trailers().expect("neither data nor trailers")),
        }))
    }

    fn body(&mut self) -> &mut ContextBody<B> {
        self.body.as_mut().expect("it has not been dropped")
    }

    /// Drops the body, like a server that needs no more of it.
    fn drop_body(&mut self) {
        self.body = None;
    }

    fn stats(&self) -> ServerStats {
        self.layer.stats()
    }

    /// Asserts that the request is over because it was answered.
    fn assert_answered(&self) {
        let error = self.ctx.err().expect("the request is over");
        assert_answered(&error);
        let stats = self.stats();
        assert_eq!((stats.requests, stats.in_flight), (1, 0));
        assert_eq!(
            (stats.timed_out, stats.canceled, stats.disconnected, stats.failed, stats.panicked),
            (0, 0, 0, 0, 0)
        );
    }

    fn assert_disconnected(&self) {
        let cause = self.ctx.cause().expect("the request is over");
        assert!(cause.downcast_ref::<ClientDisconnected>().is_some(), "{cause}");
        assert_eq!((self.stats().disconnected, self.stats().in_flight), (1, 0));
    }
}

fn data(text: &str) -> Option<Result<String, String>> {
    Some(Ok(text.to_owned()))
}

// ===== Complete bodies =====

#[tokio::test]
async fn context_lives_until_the_last_frame() {
    let mut exchange = get(Steps::new([Data("one"), Data("two")])).await;
    for text in ["one", "two"] {
        assert_eq!(exchange.frame().await, data(text));
        assert!(!exchange.ctx.is_done());
    }
    assert_eq!(exchange.frame().await, None);
    exchange.assert_answered();
    assert_eq!(exchange.frame().await, None, "and that is how it stays");
}

#[tokio::test]
async fn last_frame_of_a_body_that_knows_its_end_is_the_end() {
    let mut exchange = get(Steps::that_know_their_end([Data("one"), Data("two")])).await;
    assert_eq!(exchange.frame().await, data("one"));
    assert!(!exchange.body().is_end_stream() && !exchange.ctx.is_done());
    assert_eq!(exchange.frame().await, data("two"));
    assert!(exchange.body().is_end_stream());
    exchange.assert_answered();
}

#[tokio::test]
async fn trailers_are_passed_on_and_end_the_body() {
    let mut exchange = get(Steps::new([Data("one"), Trailers])).await;
    assert_eq!(exchange.frame().await, data("one"));
    assert!(!exchange.ctx.is_done());
    assert!(exchange.frame().await.expect("there are trailers").expect("good ones").contains("checksum"));
    exchange.assert_answered();
}

#[tokio::test]
async fn size_hint_and_end_are_those_of_the_handlers_body() {
    let mut exchange = get(Full::new(Bytes::from_static(b"seven!!"))).await;
    assert_eq!(exchange.body().size_hint().exact(), Some(7));
    assert!(!exchange.body().is_end_stream());
    exchange.frame().await;
    assert_eq!(exchange.body().size_hint().exact(), Some(0));
    assert!(exchange.body().is_end_stream());

    assert!(get(Empty::<Bytes>::new()).await.body().is_end_stream());
    assert_eq!(get(Steps::new([Data("one")])).await.body().size_hint().upper(), SizeHint::new().upper());
}

/// hyper does not poll an empty body, or a body that has sent its whole `Content-Length`.
#[tokio::test]
async fn body_dropped_at_its_end_counts_as_answered() {
    let mut exchange = get(Empty::<Bytes>::new()).await;
    exchange.drop_body();
    exchange.assert_answered();

    let mut exchange = get(Full::new(Bytes::from_static(b"here"))).await;
    exchange.frame().await;
    exchange.drop_body();
    exchange.assert_answered();
}

#[tokio::test]
async fn unsent_body_counts_as_answered() {
    let body = || Steps::new([Data("never sent")]);
    let mut head = exchange(Method::HEAD, |_| Response::new(body())).await;
    head.drop_body();
    head.assert_answered();
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let mut exchange =
            exchange(Method::GET, |_| Response::builder().status(status).body(body()).expect("well-formed")).await;
        exchange.drop_body();
        exchange.assert_answered();
    }
}

#[tokio::test]
async fn upgrade_on_an_unwatched_connection_is_answered_and_its_context_continues() {
    for (method, status) in [(Method::GET, StatusCode::SWITCHING_PROTOCOLS), (Method::CONNECT, StatusCode::OK)] {
        let body = Steps::new([Data("never sent")]);
        let mut exchange = exchange(method, |_| Response::builder().status(status).body(body).expect("valid")).await;
        exchange.drop_body();
        assert!(!exchange.ctx.is_done());
        let stats = exchange.stats();
        assert_eq!((stats.requests, stats.in_flight, stats.disconnected, stats.held), (1, 0, 0, 1));
    }
}

#[tokio::test]
async fn content_length_ends_the_body() {
    for (length, is_whole) in [("6", true), ("7", false)] {
        let body = Steps::new([Data("one"), Data("two"), Wait]);
        let mut exchange = exchange(Method::GET, |_| {
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static(length));
            response
        })
        .await;
        exchange.frame().await;
        exchange.frame().await;
        exchange.drop_body();
        if is_whole {
            exchange.assert_answered();
        } else {
            exchange.assert_disconnected();
        }
    }
}

#[tokio::test]
async fn body_dropped_before_its_end_is_a_disconnect() {
    let mut exchange = get(Steps::new([Data("one"), Data("two")])).await;
    exchange.frame().await;
    exchange.drop_body();
    exchange.assert_disconnected();

    let mut exchange = get(Steps::new([Data("one")])).await;
    exchange.drop_body();
    exchange.assert_disconnected();
}

// ===== Cut bodies =====

const DEADLINE_EXCEEDED: &str = "context deadline exceeded";

#[tokio::test]
async fn deadline_cuts_a_body_that_waits() {
    let mut exchange = get(Steps::new([Data("one"), Wait])).await;
    let time = exchange.time.clone();
    assert_eq!(exchange.frame().await, data("one"));
    {
        let mut next = pin!(exchange.frame());
        assert!(poll_once(next.as_mut()).await.is_pending());
        time.advance(5 * SECOND);
        assert_eq!(next.await, Some(Err(DEADLINE_EXCEEDED.to_owned())), "it is woken");
    }
    assert_eq!(exchange.frame().await, None, "nothing comes after it");
    let stats = exchange.stats();
    assert_eq!((stats.timed_out, stats.in_flight), (1, 0));
}

#[tokio::test]
async fn deadline_cuts_a_body_that_never_waits() {
    let mut exchange = get(Steps::new([Data("one"), Data("two"), Data("three")])).await;
    assert_eq!(exchange.frame().await, data("one"));
    exchange.time.advance(5 * SECOND);
    let error = exchange.body().frame().await.expect("it is cut").expect_err("short");
    assert!(error.downcast_ref::<ripcord::Error>().is_some_and(ripcord::Error::is_deadline_exceeded), "{error}");
    assert_eq!(exchange.stats().timed_out, 1);
}

#[tokio::test]
async fn last_frame_that_is_ready_at_the_deadline_wins() {
    let mut exchange = get(Steps::that_know_their_end([Data("one"), Data("two")])).await;
    exchange.frame().await;
    exchange.time.advance(5 * SECOND);
    assert_eq!(exchange.frame().await, data("two"));
    assert_eq!((exchange.stats().timed_out, exchange.stats().in_flight), (0, 0));
}

#[tokio::test]
async fn answer_to_an_ended_context_may_have_several_ready_frames() {
    let late = |steps: Steps| {
        exchange(Method::GET, |time: &ManualTime| {
            time.advance(5 * SECOND);
            Response::new(steps)
        })
    };
    let mut whole = late(Steps::new([Data("what "), Data("there was")])).await;
    assert_eq!((whole.frame().await, whole.frame().await), (data("what "), data("there was")));
    assert_eq!(whole.frame().await, None);

    let mut slow = late(Steps::new([Data("what "), Wait])).await;
    assert_eq!(slow.frame().await, data("what "));
    assert_eq!(slow.frame().await, Some(Err(DEADLINE_EXCEEDED.to_owned())));
    assert_eq!(slow.stats().timed_out, 1);
}

#[tokio::test]
async fn server_that_cancels_cuts_a_body() {
    let mut exchange = get(Steps::new([Data("one"), Data("two")])).await;
    exchange.frame().await;
    exchange.server.cancel_with("shutting down");
    assert_eq!(exchange.frame().await, Some(Err("context canceled".to_owned())));
    assert_eq!(exchange.ctx.cause().expect("it says why").to_string(), "shutting down");
    assert_eq!(exchange.stats().canceled, 1);
}

#[tokio::test]
async fn error_of_a_body_is_passed_on() {
    let mut exchange = get(Steps::new([Data("one"), Fail])).await;
    exchange.frame().await;
    assert_eq!(exchange.frame().await, Some(Err("the disk is on fire".to_owned())));
    assert_eq!((exchange.stats().failed, exchange.stats().in_flight), (1, 0));
    assert!(exchange.ctx.is_done());

    let mut exchange = get(Steps::new([Data("one"), Fail])).await;
    exchange.frame().await;
    exchange.time.advance(5 * SECOND);
    assert_eq!(exchange.frame().await, Some(Err("the disk is on fire".to_owned())));
    assert_eq!((exchange.stats().failed, exchange.stats().timed_out), (0, 1), "its Context had ended");
}

#[tokio::test]
async fn panic_in_a_body_fails_its_request_only() {
    let mut exchange = get(Steps::new([Data("one"), Panic, Data("two")])).await;
    exchange.frame().await;
    assert_eq!(exchange.frame().await, Some(Err("body panicked: out of cheese".to_owned())));
    assert_eq!(exchange.frame().await, None, "it is not asked again");
    assert_eq!(exchange.ctx.cause().expect("it says why").to_string(), "handler panicked: out of cheese");
    assert_eq!((exchange.stats().panicked, exchange.stats().in_flight), (1, 0));
}

// ===== Any tower service =====

#[tokio::test]
async fn ended_converts_to_a_response_of_any_body() {
    let (clock, time) = Clock::manual();
    let server = Context::background().with_clock(clock);
    let layer = ContextLayer::new(&server).timeout(SECOND).deadline_status(StatusCode::REQUEST_TIMEOUT);
    let service = layer.layer(service_fn(|request: Request<()>| {
        let time = time.clone();
        async move {
            time.advance(SECOND);
            let ctx = request.extensions().get::<Context>().expect("the layer gave one");
            let ended = Ended::from(ctx.err().expect("its time is over"));
            Ok::<_, Infallible>(Response::<Full<Bytes>>::from(ended))
        }
    }));
    let response = service.oneshot(Request::new(())).await.unwrap_or_else(|never| match never {});
    assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT, "as the layer was told");
    assert_eq!(response.into_body().collect().await.expect("a whole body").to_bytes(), "Request timed out");
    assert_eq!(layer.stats().timed_out, 1);
}

#[tokio::test]
async fn panic_in_call_fails_its_request_only() {
    let layer = ContextLayer::new(&Context::background());
    let service = layer.layer(service_fn(|request: Request<bool>| {
        assert!(request.into_body(), "out of cheese");
        std::future::ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("fine"))))
    }));
    for (body, status) in [(false, StatusCode::INTERNAL_SERVER_ERROR), (true, StatusCode::OK)] {
        let response = service.clone().oneshot(Request::new(body)).await.unwrap_or_else(|never| match never {});
        assert_eq!(response.status(), status);
    }
    assert_eq!(layer.stats().panicked, 1);
}

#[tokio::test]
async fn error_of_the_service_is_passed_on() {
    let layer = ContextLayer::new(&Context::background());
    let service = layer.layer(service_fn(|_: Request<()>| {
        std::future::ready(Err::<Response<Full<Bytes>>, _>(io::Error::other("no route to host")))
    }));
    let error = service.oneshot(Request::new(())).await.expect_err("it fails");
    assert_eq!(error.to_string(), "no route to host");
    assert_eq!((layer.stats().failed, layer.stats().in_flight), (1, 0));
}
