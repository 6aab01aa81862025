//! Tests clients that stay connected and do not read the end of an answer.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Bytes, routing::get};
use ripcord::{Canceler, Clock, Context, ManualTime};
use ripcord_http::server::{ContextLayer, connection::Watch};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};

use crate::{
    common::SECOND,
    sockets::{GET, in_time, round_trip, serve, serve_one, with_ping},
};

/// A length larger than all buffers between a server and its client.
const LENGTH: usize = 8 << 20;

/// A client that has requested `LENGTH` bytes and reads none of them.
struct Unread {
    client: TcpStream,
    serving: JoinHandle<bool>,
    layer: ContextLayer,
    server: Canceler,
    time: ManualTime,
    /// Another server. After a round trip to it, this runtime has handled all earlier events.
    beside: SocketAddr,
}

impl Unread {
    async fn begin(watched: fn(Watch) -> Watch) -> Unread {
        let (clock, time) = Clock::manual();
        let (server, cancel) = Context::background().with_clock(clock).with_cancel();
        let layer = ContextLayer::new(&server).timeout(5 * SECOND);
        let body = Bytes::from(vec![b'x'; LENGTH]);
        let app = Router::new().route("/", get(move || std::future::ready(body))).layer(layer.clone());
        let (address, serving) = serve_one(app, watched).await;
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("more than the least");
        let client = socket.connect(address).await.expect("it accepts");
        client.try_write(GET.as_bytes()).expect("it reads");
        let beside = serve(with_ping(Router::new())).await;
        let unread = Unread { client, serving, layer, server: cancel, time, beside };
        in_time(async {
            while unread.layer.stats().requests == 0 || unread.layer.stats().in_flight > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        unread.settle().await;
        unread
    }

    /// Waits until the server has sent as much as the buffers hold.
    async fn settle(&self) {
        for _ in 0..3 {
            round_trip(self.beside).await;
        }
    }

    async fn assert_served(&self) {
        self.settle().await;
        assert!(!self.serving.is_finished(), "its connection is there still");
    }

    /// Asserts that the server has dropped the connection before it had sent everything.
    async fn assert_dropped(mut self) {
        assert!(!in_time(self.serving).await.expect("no panic"), "not in order");
        let mut received = Vec::new();
        let _ = in_time(self.client.read_to_end(&mut received)).await;
        assert!(received.len() < LENGTH, "{}", received.len());
        let stats = self.layer.stats();
        assert_eq!((stats.requests, stats.in_flight, stats.disconnected, stats.timed_out), (1, 0, 0, 0), "it was over");
    }
}

#[tokio::test]
async fn unread_end_of_an_answer_is_dropped_after_the_send_timeout() {
    let unread = Unread::begin(|watch| watch).await;
    // The request's deadline does not apply to the unread end of its answer.
    unread.time.advance(30 * SECOND - Duration::from_nanos(1));
    unread.assert_served().await;
    unread.time.advance(Duration::from_nanos(1));
    unread.assert_dropped().await;
}

#[tokio::test]
async fn send_timeout_can_be_set() {
    let unread = Unread::begin(|watch| watch.send_timeout(2 * SECOND)).await;
    unread.time.advance(SECOND);
    unread.assert_served().await;
    unread.time.advance(SECOND);
    unread.assert_dropped().await;
}

#[tokio::test]
async fn slow_client_gets_the_whole_answer() {
    let mut unread = Unread::begin(|watch| watch).await;
    let mut received = vec![0; LENGTH / 4];
    for _ in 0..3 {
        unread.time.advance(20 * SECOND);
        unread.assert_served().await;
        // This is more than the buffers hold, so the server has written meanwhile.
        in_time(unread.client.read_exact(&mut received)).await.expect("there is more");
        unread.settle().await;
    }
    let mut left = LENGTH - 3 * received.len();
    // The rest also includes the head, whose length is unknown.
    while left > 0 {
        left -= in_time(unread.client.read(&mut received)).await.expect("there is more").min(left);
    }
    drop(unread.client);
    assert!(in_time(unread.serving).await.expect("no panic"), "in order");
}

#[tokio::test]
async fn ended_server_drops_a_client_that_reads_nothing() {
    let unread = Unread::begin(|watch| watch).await;
    unread.assert_served().await;
    unread.server.cancel();
    unread.assert_dropped().await;
}
