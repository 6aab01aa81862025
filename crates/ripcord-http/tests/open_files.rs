//! Tests a server that is out of file descriptors. This test runs in its own process, because the limit applies to the process.
#![cfg(unix)]

use std::{
    fs::File,
    future::IntoFuture as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::get};
use ripcord::{Clock, Context, Shutdown};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The maximum time to wait for events in real time.
const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Opens files until no descriptor is left.
fn open_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Lets the server run. The manual clock does not move.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

/// Frees one descriptor and connects with it.
async fn client(address: std::net::SocketAddr, open: &mut Vec<File>) -> TcpStream {
    drop(open.pop());
    let mut client = TcpStream::connect(address).await.expect("the kernel accepts it");
    client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await.expect("it is open");
    client
}

#[tokio::test]
async fn server_without_descriptors_pauses_reports_it_once_accepts_again_and_shuts_down() {
    let (clock, time) = Clock::manual();
    let shutdown = Shutdown::builder().context(&Context::background().with_clock(clock)).build();
    let listener = ripcord_http::listen("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let reports: Arc<Mutex<Vec<String>>> = Arc::default();
    let reported = || reports.lock().expect("no panic").len();
    let note = Arc::clone(&reports);
    let app = Router::new().route("/", get(|| async { "here" }));
    let serve = ripcord_http::serve(listener, app).shutdown(&shutdown);
    let serve = serve.on_accept_error(move |error| note.lock().expect("no panic").push(error.to_string()));
    let serving = tokio::spawn(serve.into_future());
    settle().await;

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum }).expect("it is below the maximum");
    for outage in 1..=2 {
        let mut open = open_all();
        let mut client = client(address, &mut open).await;
        tokio::time::timeout(PATIENCE, async {
            while reported() < outage {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the server reports that it cannot accept");
        // The server tries again each second, but reports nothing.
        for _ in 0..5 {
            time.advance(SECOND);
            settle().await;
        }
        assert_eq!(reported(), outage, "one report for each outage");

        drop(open);
        settle().await;
        assert!(client.try_read(&mut [0]).is_err(), "it does not try again before the second is over");
        time.advance(SECOND);
        let mut answer = String::new();
        let read = tokio::time::timeout(PATIENCE, client.read_to_string(&mut answer));
        read.await.expect("it answers").expect("the server closes in order");
        assert!(answer.ends_with("here"), "{answer:?}");
    }
    assert!(reports.lock().expect("no panic").iter().all(|report| report.contains("Too many open files")));

    // The shutdown begins while the server cannot accept connections.
    let mut open = open_all();
    let client = client(address, &mut open).await;
    tokio::time::timeout(PATIENCE, async {
        while reported() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the server reports that it cannot accept");
    drop((open, client));
    shutdown.begin("the end of the test");
    tokio::time::timeout(PATIENCE, serving).await.expect("it ends").expect("no panic");
}
