//! Tests the service in-process, on tokio's paused clock or over a loopback socket. No test waits for a timeout in real time.

use std::{convert::Infallible, future::IntoFuture as _, net::SocketAddr, time::Duration};

use axum::{Router, body::Body, extract::Request, http::StatusCode, response::Response, routing::get};
use http_body_util::BodyExt as _;
use ripcord::{Clock, Context, Shutdown};
use ripcord_cli::{
    search::Search,
    serve::{self, Recorder, Service, Settings},
};
use ripcord_http::server::{ClientDisconnected, ContextLayer, Ctx};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tower::ServiceExt as _;

const SECOND: Duration = Duration::from_secs(1);

/// The maximum time to wait for events in real time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Creates a server's context on the paused clock of the test.
fn server() -> Context {
    Context::background().with_clock(Clock::tokio()).with_name("serve")
}

/// Creates the service without backends.
fn service(server: &Context) -> Router {
    let search = Search::new([]).expect("no two of the same name");
    on(&Shutdown::builder().context(server).build(), search).app()
}

fn on(shutdown: &Shutdown, search: Search) -> Service {
    let settings = Settings::default();
    let inspector = serve::inspector(&settings, shutdown).expect("valid settings");
    Service::new(shutdown, &settings, search, Recorder::install(), inspector, None)
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
async fn root_answers_after_two_seconds() {
    let app = service(&server());
    let started = Instant::now();
    let response = send(&app, request("/")).await;

    let took = started.elapsed();
    assert!(took >= 2 * SECOND && took < 3 * SECOND, "{took:?}");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
    let id = header(&response, "x-request-id").to_owned();
    assert_eq!(text(response).await, format!("Request processed successfully. Request ID: {id}"));
}

#[tokio::test(start_paused = true)]
async fn slow_is_504_for_each_of_a_thousand() {
    let app = service(&server());
    let started = Instant::now();
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
    let took = started.elapsed();
    assert!(took >= 5 * SECOND && took <= 5 * SECOND + SECOND / 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn unknown_path_is_404_at_once() {
    let app = service(&server());
    let started = Instant::now();
    let response = send(&app, request("/nosuch")).await;

    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
    assert!(header(&response, "x-request-id").starts_with("req-"));
    assert_eq!(text(response).await, "Not found");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn inspector_path_with_a_slash_redirects() {
    let app = service(&server());
    for (asked, location) in
        [("/debug/contexts/", "/debug/contexts"), ("/debug/contexts/?token=t", "/debug/contexts?token=t")]
    {
        let response = send(&app, request(asked)).await;
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(header(&response, "location"), location);
    }
    let refused = send(&app, request("/debug/contexts")).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN, "it is not known who asks");
}

#[tokio::test(start_paused = true)]
async fn server_that_cancels_is_503() {
    let (server, cancel) = server().with_cancel();
    let app = service(&server);
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

// ===== Over a socket =====

#[tokio::test]
async fn disconnect_is_the_cause_in_the_log() {
    let (started, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |Ctx(ctx): Ctx| {
        started.send(ctx.clone()).expect("the test listens");
        async move { ctx.done().await.to_string() }
    };
    let (server, _keep) = Context::background().with_cancel();
    let app = Router::new().route("/", get(handler)).layer(ContextLayer::new(&server).timeout(PATIENCE));
    let (address, shutdown, serving) = listen(app).await;

    let mut client = TcpStream::connect(address).await.expect("it accepts");
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.expect("it reads");
    let ctx = begins.recv().await.expect("the handler began");
    assert!(!ctx.is_done());
    drop(client);
    let error = Context::background().with_timeout(PATIENCE).run(ctx.done()).await.expect("it ends");
    assert!(error.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some()), "{error:#}");

    shutdown.begin("the end of the test");
    serving.await.expect("no task panics");
}

#[tokio::test]
async fn panicking_handler_keeps_server_and_connection_alive() {
    async fn panics() -> String {
        panic!("out of cheese")
    }
    let app = Router::new()
        .route("/panic", get(panics))
        .route("/", get(|| async { "fine" }))
        .layer(ContextLayer::new(&Context::background()).timeout(PATIENCE));
    let (address, shutdown, serving) = listen(app).await;

    let mut client = TcpStream::connect(address).await.expect("it accepts");
    let requests =
        b"GET /panic HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    client.write_all(requests).await.expect("it reads");
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.expect("it answers");
    assert!(answers.contains("500 Internal Server Error") && answers.ends_with("fine"), "{answers}");

    shutdown.begin("the end of the test");
    serving.await.expect("no task panics");
}

#[tokio::test]
async fn malformed_request_gets_an_explanation() {
    let search = Search::new([]).expect("no two of the same name");
    let shutdown = Shutdown::builder().build();
    let service = on(&shutdown, search);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let serving = tokio::spawn({
        let service = service.clone();
        async move { service.serve(listener).await }
    });
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(70_000));
    let many_headers = format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", "X: y\r\n".repeat(200));
    let cases = [
        ("nonsense\r\n\r\n", "400 Bad Request", "invalid token in the request line"),
        ("GET / HTTP/7.0\r\n\r\n", "400 Bad Request", "invalid HTTP version in the request line"),
        ("GET /a b HTTP/1.1\r\nHost: test\r\n\r\n", "400 Bad Request", "invalid HTTP version in the request line"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "400 Bad Request", "invalid header name in the headers"),
        (&long_path, "414 URI Too Long", "its path and query are too long"),
        (&many_headers, "431 Request Header Fields Too Large", "its headers are too large, or too many"),
        // The malformed request is the second request of its connection.
        ("GET /nosuch HTTP/1.1\r\nHost: test\r\n\r\n\u{7f}", "400 Bad Request", "it does not parse as HTTP/1.1"),
    ];
    for (request, status, expected) in cases {
        let mut client = TcpStream::connect(address).await.expect("it accepts");
        client.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("it answers, and closes");
        assert!(answer.contains(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
        assert!(answer.ends_with(&format!("\r\n\r\nMalformed request: {expected}")), "{request:?}: {answer}");
    }
    let metrics = text(send(&service.app(), request("/metrics")).await).await;
    for (status, count) in [("400", 5), ("414", 1), ("431", 1)] {
        let line = format!("ripcord_http_refusals_total{{status=\"{status}\"}} {count}");
        assert!(metrics.lines().any(|counted| counted == line), "no {line} in {metrics}");
    }

    shutdown.begin("the end of the test");
    serving.await.expect("no task panics");
}

/// Serves `app` on a free port until the shutdown.
async fn listen(app: Router) -> (SocketAddr, Shutdown, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let shutdown = Shutdown::builder().build();
    let serving = tokio::spawn(ripcord_http::serve(listener, app).shutdown(&shutdown).into_future());
    (address, shutdown, serving)
}
