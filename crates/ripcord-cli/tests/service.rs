//! The service in-process, on tokio's paused clock or over a loopback socket. No test takes the time it speaks of.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, mpsc},
    task::{self, Poll},
    thread,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{Method, StatusCode},
    response::Response,
    routing::get,
};
use http_body::Frame;
use http_body_util::BodyExt as _;
use ripcord::{Canceler, Clock, Context};
use ripcord_cli::serve::{self, ClientDisconnected, ContextLayer, Limits, RequestId};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tower::ServiceExt as _;

const SECOND: Duration = Duration::from_secs(1);

/// When to give up on what happens in real time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server's Context on the paused clock of the test.
fn server() -> Context {
    Context::background().with_clock(Clock::tokio()).with_name("serve")
}

fn request(path: &str) -> Request {
    Request::get(path).body(Body::empty()).expect("a path")
}

async fn send(app: &Router, request: Request) -> Response {
    app.clone().oneshot(request).await.unwrap_or_else(|never: Infallible| match never {})
}

async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.into()).expect("text")
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers()[name].to_str().expect("text")
}

// ===== The service =====

#[tokio::test(start_paused = true)]
async fn root_takes_two_seconds() {
    let app = serve::app(&server(), Limits::default());
    let begun = Instant::now();
    let response = send(&app, request("/")).await;

    let took = begun.elapsed();
    assert!(took >= 2 * SECOND && took < 3 * SECOND, "{took:?}");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
    let id = header(&response, "x-request-id").to_owned();
    assert_eq!(text(response).await, format!("Request processed successfully. Request ID: {id}"));
}

#[tokio::test(start_paused = true)]
async fn slow_is_504_for_each_of_a_thousand() {
    let app = serve::app(&server(), Limits::default());
    let begun = Instant::now();
    let answers: Vec<_> = (0..1000)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { send(&app, request("/slow")).await })
        })
        .collect();

    for answer in answers {
        let response = answer.await.expect("no task panics");
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
        assert!(header(&response, "x-request-id").starts_with("req-"));
        assert_eq!(text(response).await, "Request timed out");
    }
    let took = begun.elapsed();
    assert!(took >= 5 * SECOND && took < 6 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn unknown_path_is_404_at_once() {
    let app = serve::app(&server(), Limits::default());
    let begun = Instant::now();
    let response = send(&app, request("/nosuch")).await;

    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
    assert!(header(&response, "x-request-id").starts_with("req-"));
    assert_eq!(text(response).await, "Not found");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn server_that_cancels_is_503() {
    let (server, cancel) = server().with_cancel();
    let app = serve::app(&server, Limits::default());
    let in_flight = tokio::spawn({
        let app = app.clone();
        async move { send(&app, request("/slow")).await }
    });
    server.without_cancel().sleep(SECOND).await.expect("nothing ends it");
    cancel.cancel_with("maintenance");

    for response in [in_flight.await.expect("no task panics"), send(&app, request("/")).await] {
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = text(response).await;
        assert!(!body.contains("maintenance"), "causes are for the log: {body}");
    }
}

// ===== The layer =====

/// The Contexts of the requests that a router of [`watched`] has seen.
type Seen = Arc<Mutex<Vec<Context>>>;

/// `router` under a layer of five seconds, and the Contexts it gives.
fn watched(router: Router) -> (Router, Seen) {
    let seen = Seen::default();
    let see = axum::middleware::map_request({
        let seen = seen.clone();
        move |request: Request| {
            seen.lock().expect("no test panics here").push(ctx(&request));
            std::future::ready(request)
        }
    });
    (router.layer(see).layer(ContextLayer::new(&server(), 5 * SECOND)), seen)
}

fn ctx(request: &Request) -> Context {
    request.extensions().get::<Context>().expect("the layer gave one").clone()
}

fn only(seen: &Seen) -> Context {
    let seen = seen.lock().expect("no test panics here");
    assert_eq!(seen.len(), 1);
    seen[0].clone()
}

#[tokio::test(start_paused = true)]
async fn every_request_has_a_context() {
    let (app, seen) = watched(Router::new().route("/users/{id}", get(|| async { "here" })));
    let response = send(&app, request("/users/7")).await;

    let ctx = only(&seen);
    assert_eq!(ctx.name(), Some("/users/{id}"), "the route, not the path");
    assert_eq!(ctx.value::<RequestId>().expect("an id").as_str(), header(&response, "x-request-id"));
    assert_eq!(ctx.deadline(), Some((Instant::now() + 5 * SECOND).into_std()));
    assert!(!ctx.is_done(), "the response has not been sent");

    drop(text(response).await);
    let error = ctx.err().expect("the request is over");
    assert!(error.is_canceled());
    assert!(error.cause().is_none(), "and nobody's fault");
}

#[tokio::test(start_paused = true)]
async fn server_with_less_time_left_decides() {
    let server = server().with_timeout(2 * SECOND);
    let app = Router::new().route("/", get(pending::<String>)).layer(ContextLayer::new(&server, 5 * SECOND));
    let begun = Instant::now();

    assert_eq!(send(&app, request("/")).await.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(begun.elapsed() < 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn handler_that_ignores_its_context_is_answered_for() {
    let (app, seen) = watched(Router::new().route("/", get(pending::<String>)));
    let response = send(&app, request("/")).await;

    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(text(response).await, "Request timed out");
    assert!(only(&seen).err().is_some_and(|error| error.is_deadline_exceeded()));
}

#[tokio::test(start_paused = true)]
async fn result_that_is_ready_at_the_deadline_wins() {
    let last_word = |Extension(ctx): Extension<Context>| async move {
        let error = ctx.done().await;
        format!("partial result ({error})")
    };
    let (app, _) = watched(Router::new().route("/", get(last_word)));
    let response = send(&app, request("/")).await;

    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "partial result (context deadline exceeded)");
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_without_time() {
    async fn handler() -> String {
        unreachable!("there is no time for it")
    }
    let app = Router::new().route("/", get(handler)).layer(ContextLayer::new(&server(), Duration::ZERO));

    assert_eq!(send(&app, request("/")).await.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn panic_costs_one_request() {
    async fn panics(Extension(ctx): Extension<Context>) -> String {
        ctx.sleep(SECOND).await.expect("there is time");
        panic!("out of cheese")
    }
    let (app, seen) = watched(Router::new().route("/panic", get(panics)).route("/", get(|| async { "fine" })));
    let response = send(&app, request("/panic")).await;

    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(header(&response, "x-request-id").starts_with("req-"));
    assert_eq!(text(response).await, "Internal server error");
    let cause = only(&seen).cause().expect("it is done");
    assert_eq!(cause.to_string(), "handler panicked: out of cheese", "what it spawned is told");

    assert_eq!(text(send(&app, request("/")).await).await, "fine");
}

#[tokio::test(start_paused = true)]
async fn dropped_request_cancels_what_it_spawned() {
    let (report, reported) = mpsc::channel();
    let spawns = move |Extension(ctx): Extension<Context>| {
        let report = report.clone();
        // On a thread of its own, as blocking work is: dropping the handler does not reach it.
        thread::spawn(move || report.send(ctx.wait()));
        pending::<String>()
    };
    let (app, seen) = watched(Router::new().route("/", get(spawns)));

    {
        let mut response = pin!(send(&app, request("/")));
        assert!(poll_once(response.as_mut()).await.is_pending(), "the handler hangs");
        assert!(!only(&seen).is_done());
    }
    let error = reported.recv_timeout(PATIENCE).expect("the thread was told");
    assert!(error.is_canceled());
    let cause = error.cause().expect("it says why");
    assert_eq!(cause.to_string(), "client disconnected");
    assert!(cause.downcast_ref::<ClientDisconnected>().is_some());
}

#[tokio::test(start_paused = true)]
async fn context_lives_as_long_as_the_body() {
    let endless = || async { Response::new(Body::new(Endless)) };
    let (app, seen) = watched(Router::new().route("/", get(endless)));
    let mut body = send(&app, request("/")).await.into_body();
    body.frame().await.expect("there is one").expect("it is good");
    let ctx = only(&seen);
    assert!(!ctx.is_done(), "there is more to come");

    drop(body);
    assert!(ctx.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some()));
}

#[tokio::test(start_paused = true)]
async fn answer_without_a_body_is_no_disconnect() {
    let (app, seen) = watched(Router::new().route("/", get(|| async { "not sent" })));
    let mut head = request("/");
    *head.method_mut() = Method::HEAD;
    drop(send(&app, head).await);

    let error = only(&seen).err().expect("the request is over");
    assert!(error.cause().is_none(), "{error:#}");
}

// ===== Over a socket =====

#[tokio::test]
async fn client_that_goes_away_is_the_cause() {
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |Extension(ctx): Extension<Context>| {
        begun.send(ctx).expect("the test listens");
        pending::<String>()
    };
    let (server, _keep) = Context::background().with_cancel();
    let app = Router::new().route("/", get(handler)).layer(ContextLayer::new(&server, PATIENCE));
    let (address, stop, accepting) = listen(app).await;

    let mut client = TcpStream::connect(address).await.expect("it accepts");
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("it reads");
    let ctx = begins.recv().await.expect("the handler began");
    assert!(!ctx.is_done());
    drop(client);
    let error = Context::background().with_timeout(PATIENCE).run(ctx.done()).await.expect("it ends");
    assert!(error.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some()), "{error:#}");

    stop.cancel();
    accepting.await.expect("no task panics").finished().await;
}

#[tokio::test]
async fn panic_costs_neither_server_nor_connection() {
    async fn panics() -> String {
        panic!("out of cheese")
    }
    let app = Router::new()
        .route("/panic", get(panics))
        .route("/", get(|| async { "fine" }))
        .layer(ContextLayer::new(&Context::background(), PATIENCE));
    let (address, stop, accepting) = listen(app).await;

    let mut client = TcpStream::connect(address).await.expect("it accepts");
    let requests =
        b"GET /panic HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    client.write_all(requests).await.expect("it reads");
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.expect("it answers");
    assert!(answers.contains("500 Internal Server Error") && answers.ends_with("fine"), "{answers}");

    stop.cancel();
    accepting.await.expect("no task panics").finished().await;
}

/// Serves `app` on a free port until the canceler is used.
async fn listen(app: Router) -> (SocketAddr, Canceler, JoinHandle<serve::Connections>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (stop, cancel) = Context::background().with_cancel();
    let accepting = tokio::spawn(async move { serve::accept(listener, app, &stop).await });
    (address, cancel, accepting)
}

// ===== Helpers =====

/// Polls `future` once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// A body without an end.
struct Endless;

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
    }
}
