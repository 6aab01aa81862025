//! Tests HTTP/2 streams that the client or the server resets.

use std::sync::Arc;

use axum::{Router, body::Body, response::Response, routing::any};
use ripcord::{Clock, Context};
use ripcord_http::server::ContextLayer;
use tokio::net::TcpStream;

use crate::{
    common::SECOND,
    handlers::{Counted, layer, settle, stuck},
    sockets::{Started, assert_disconnected, h2_request, in_time, serve, serve_unwatched},
};

#[tokio::test]
async fn http2_reset_ends_one_stream() {
    for is_watched in [true, false] {
        let layer = layer();
        let (begin, mut started) = Started::channel();
        let app = stuck(&layer, &begin);
        let address = if is_watched { serve(app).await } else { serve_unwatched(app).await };
        let stream = TcpStream::connect(address).await.expect("it accepts");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);

        let (_first, mut first_stream) = client.send_request(h2_request(), true).expect("it is open");
        let first = started.next().await;
        let (_second, _second_stream) = client.send_request(h2_request(), true).expect("it is open");
        let second = started.next().await;

        first_stream.send_reset(h2::Reason::CANCEL);
        assert_disconnected(&first).await;
        assert!(!second.is_done(), "it is on the same connection, and still wanted");
    }
}

#[tokio::test]
async fn http2_close_ends_all_streams() {
    let layer = layer();
    let (begin, mut started) = Started::channel();
    let stream = TcpStream::connect(serve(stuck(&layer, &begin)).await).await.expect("it accepts");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let _first = client.send_request(h2_request(), true).expect("it is open");
    let _second = client.send_request(h2_request(), true).expect("it is open");
    let contexts = [started.next().await, started.next().await];

    connection.abort();
    for ctx in contexts {
        assert_disconnected(&ctx).await;
    }
    settle(&layer).await;
    assert_eq!(layer.stats().disconnected, 2);
}

// If the stream ended normally, the client would take the body for complete.
#[tokio::test]
async fn http2_stream_that_the_deadline_cuts_is_reset() {
    let (clock, time) = Clock::manual();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
    let handler = any(|| std::future::ready(Response::new(Body::new(Counted(Arc::default())))));
    let address = serve(Router::new().route("/", handler).layer(layer.clone())).await;
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let (response, _stream) = client.send_request(h2_request(), true).expect("it is open");
    let response = in_time(response).await.expect("a head");
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    in_time(body.data()).await.expect("there is some").expect("it is whole so far");

    time.advance(5 * SECOND);
    let error = in_time(async {
        loop {
            match body.data().await.expect("it does not end in order") {
                Ok(data) => body.flow_control().release_capacity(data.len()).expect("it was received"),
                Err(error) => return error,
            }
        }
    })
    .await;
    assert!(error.is_reset(), "{error}");
    settle(&layer).await;
    assert_eq!(layer.stats().timed_out, 1);
}

// hyper polls the body only while the client has room.
#[tokio::test]
async fn unread_http2_response_is_reset_at_the_deadline() {
    let endless = || Response::new(Body::new(Counted(Arc::default())));
    let whole = || Response::new(Body::from(vec![b'x'; 200_000]));
    for body in [endless as fn() -> Response, whole] {
        let (clock, time) = Clock::manual();
        let layer = ContextLayer::new(&Context::background().with_clock(clock)).timeout(5 * SECOND);
        let handler = any(move || std::future::ready(body()));
        let address = serve(Router::new().route("/", handler).layer(layer.clone())).await;
        let stream = TcpStream::connect(address).await.expect("it accepts");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        let (response, _stream) = client.send_request(h2_request(), true).expect("it is open");
        let mut body = in_time(response).await.expect("a head").into_body();
        // Reads the whole window and releases no capacity.
        let mut received = 0;
        while received < 65_535 {
            received += in_time(body.data()).await.expect("there is more").expect("no error").len();
        }
        settle_streams(&mut client).await;
        time.advance(5 * SECOND);
        let error = in_time(body.data()).await.expect("it does not end in order").expect_err("it is reset");
        assert!(error.is_reset(), "{error}");
        settle(&layer).await;

        // The connection is still open.
        let (response, _) = client.send_request(h2_request(), true).expect("it is open");
        assert_eq!(in_time(response).await.expect("a head").status(), 200);
    }
}

/// Waits until the server has received all data sent before.
async fn settle_streams(client: &mut h2::client::SendRequest<axum::body::Bytes>) {
    let request = http::Request::get("http://test/missing").body(()).expect("well-formed");
    let (response, _) = client.send_request(request, true).expect("it is open");
    assert_eq!(in_time(response).await.expect("a head").status(), 404);
}

// hyper treats the reason NO_ERROR as the end of the body, so the upload would seem complete.
#[tokio::test]
async fn http2_upload_that_is_reset_is_not_complete() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let handler = any(move |request: axum::extract::Request| {
        let tell = tell.clone();
        let read = tokio::spawn(async move {
            tell.send(crate::sockets::read_all(request).await.map_err(|error| error.to_string()))
        });
        async { read.await.expect("no panic").expect("the test listens") }
    });
    let address = serve(Router::new().route("/", handler).layer(layer())).await;
    for reason in [None, Some(h2::Reason::NO_ERROR), Some(h2::Reason::CANCEL)] {
        let stream = TcpStream::connect(address).await.expect("it accepts");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        tokio::spawn(connection);
        let (_response, mut body) = client.send_request(h2_request(), false).expect("it is open");
        body.send_data("half".into(), reason.is_none()).expect("it is open");
        if let Some(reason) = reason {
            body.send_reset(reason);
        }
        let end = in_time(told.recv()).await.expect("it is told");
        assert_eq!(end.is_ok(), reason.is_none(), "{reason:?}: {end:?}");
    }
}
