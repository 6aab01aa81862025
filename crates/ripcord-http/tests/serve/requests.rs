//! Tests requests, limits, and services other than axum's.

use std::{
    convert::Infallible,
    future::IntoFuture as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::ConnectInfo, routing::get};
use http::{Request, Response};
use http_body_util::Full;
use ripcord::Shutdown;
use ripcord_http::{Limits, PeerAddr, Refusal};
use tokio::net::TcpStream;

use crate::{Server, get_request, read_answer, read_to_end, within};

#[tokio::test]
async fn connection_is_kept_between_requests() {
    let server = Server::start().await;
    let mut client = server.client(&get_request("/")).await;
    let first = read_answer(&mut client, "here").await;
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n") && !first.contains("Connection"), "{first}");
    tokio::io::AsyncWriteExt::write_all(&mut client, get_request("/").as_bytes()).await.expect("it is open");
    read_answer(&mut client, "here").await;
    server.shutdown.begin("the end of the test");
    assert!(server.end().await.is_clean());
}

#[tokio::test]
async fn any_tower_service_is_served() {
    async fn echo<B>(request: Request<B>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
        let PeerAddr(peer) = request.extensions().get().copied().expect("every request has it");
        Ok(Response::new(Full::from(format!("{} from {}", request.uri().path(), peer.ip()))))
    }
    let shutdown = Shutdown::builder().build();
    let listener = ripcord_http::listen("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let service = tower::service_fn(echo);
    let serving = tokio::spawn(ripcord_http::serve(listener, service).shutdown(&shutdown).into_future());
    let mut client = TcpStream::connect(address).await.expect("it accepts");
    tokio::io::AsyncWriteExt::write_all(&mut client, get_request("/path").as_bytes()).await.expect("it reads");
    read_answer(&mut client, "/path from 127.0.0.1").await;
    shutdown.begin("the end of the test");
    within(serving).await.expect("no panic");
}

#[tokio::test]
async fn handler_sees_the_clients_address() {
    let handler = |ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { format!("{} is here", peer.ip()) };
    let server = Server::start_with(|it| it, Limits::default(), Router::new().route("/peer", get(handler))).await;
    let mut client = server.client(&get_request("/peer")).await;
    read_answer(&mut client, "127.0.0.1 is here").await;
}

#[tokio::test]
async fn malformed_request_is_answered_with_the_reason_and_reported() {
    let shutdown = Shutdown::builder().build();
    let listener = ripcord_http::listen("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let seen: Arc<Mutex<Vec<Refusal>>> = Arc::default();
    let note = Arc::clone(&seen);
    let on_refusal = move |refusal: &Refusal| note.lock().expect("no panic").push(refusal.clone());
    let serve = ripcord_http::serve(listener, Router::new()).on_refusal(on_refusal).shutdown(&shutdown);
    let serving = tokio::spawn(serve.into_future());
    let mut client = TcpStream::connect(address).await.expect("it accepts");
    tokio::io::AsyncWriteExt::write_all(&mut client, b"nonsense\r\n\r\n").await.expect("it reads");
    let answer = read_to_end(client).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nMalformed request: invalid token in the request line"), "{answer}");
    let seen = seen.lock().expect("no panic").pop().expect("one refusal");
    assert_eq!((seen.status.as_u16(), seen.reason.as_str()), (400, "invalid token in the request line"));
    shutdown.begin("the end of the test");
    within(serving).await.expect("no panic");
}

#[tokio::test]
async fn empty_400_of_a_handler_is_sent_unchanged() {
    let handler = || async { (http::StatusCode::BAD_REQUEST, [("x-reason", "ours")]) };
    let server = Server::start_with(|it| it, Limits::default(), Router::new().route("/bad", get(handler))).await;
    let mut client = server.client(&get_request("/bad")).await;
    for _ in 0..2 {
        let answer = read_answer(&mut client, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("X-Reason: ours\r\n") && !answer.contains("Malformed"), "{answer}");
        assert!(!answer.contains("Connection: close"), "{answer}");
        tokio::io::AsyncWriteExt::write_all(&mut client, get_request("/bad").as_bytes()).await.expect("it is open");
    }
    read_answer(&mut client, "\r\n\r\n").await;
    // A malformed request on the same connection is explained.
    tokio::io::AsyncWriteExt::write_all(&mut client, b"nonsense\r\n\r\n").await.expect("it is open");
    let answer = read_to_end(client).await;
    assert!(answer.ends_with("\r\n\r\nMalformed request: invalid token in the request line"), "{answer}");
}

#[tokio::test]
async fn clients_above_the_connection_limit_wait_until_one_leaves() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let server = Server::start_with(|it| it, limits, Router::new()).await;
    let mut first = server.client(&get_request("/")).await;
    read_answer(&mut first, "here").await;
    let mut second = server.client(&get_request("/")).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
        assert!(second.try_read(&mut [0]).is_err(), "nobody serves it yet");
    }
    drop(first);
    read_answer(&mut second, "here").await;
}

#[tokio::test]
async fn silent_and_idle_clients_are_disconnected_after_their_timeouts() {
    let limits = Limits { head_timeout: 2 * crate::SECOND, idle_timeout: 5 * crate::SECOND, ..Limits::default() };
    let server = Server::start_with(|it| it, limits, Router::new()).await;
    let silent = server.connect().await;
    let half = server.client("GET / HTTP/1.1\r\nHo").await;
    let mut idle = server.client(&get_request("/")).await;
    read_answer(&mut idle, "here").await;
    server.time.advance(2 * crate::SECOND);
    assert_eq!(read_to_end(silent).await, "");
    assert_eq!(read_to_end(half).await, "");
    assert!(idle.try_read(&mut [0]).is_err(), "its time is not over");
    server.time.advance(3 * crate::SECOND);
    assert_eq!(read_to_end(idle).await, "");
}

#[tokio::test]
async fn timeout_of_zero_disconnects_a_silent_client_and_the_longest_disconnects_none() {
    let limits = Limits { head_timeout: std::time::Duration::ZERO, ..Limits::default() };
    let server = Server::start_with(|it| it, limits, Router::new()).await;
    assert_eq!(read_to_end(server.connect().await).await, "");

    let longest = std::time::Duration::MAX;
    let limits = Limits { head_timeout: longest, idle_timeout: longest, ..Limits::default() };
    let server = Server::start_with(|it| it, limits, Router::new()).await;
    let mut silent = server.connect().await;
    let mut idle = server.client(&get_request("/")).await;
    read_answer(&mut idle, "here").await;
    server.time.advance(3600 * crate::SECOND);
    for client in [&mut silent, &mut idle] {
        tokio::io::AsyncWriteExt::write_all(client, get_request("/").as_bytes()).await.expect("it is open");
        read_answer(client, "here").await;
    }
}

#[tokio::test]
async fn disconnect_ends_the_context_of_its_request() {
    let mut server = Server::start().await;
    let (client, ctx) = server.in_flight("/never").await;
    drop(client);
    let error = within(ctx.done()).await;
    assert!(error.cause().is_some_and(|cause| cause.to_string() == "client disconnected"), "{error:#}");
}

#[tokio::test]
async fn dropped_server_closes_its_listener_and_serves_open_connections() {
    let mut server = Server::start().await;
    let (mut client, _ctx) = server.in_flight("/waits").await;
    server.serving.abort();
    assert!(within(&mut server.serving).await.expect_err("it is aborted").is_cancelled());
    assert!(TcpStream::connect(server.address).await.is_err());
    server.shutdown.begin("the end of the test");
    read_answer(&mut client, "drained").await;
}
