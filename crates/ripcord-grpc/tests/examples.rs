//! Runs the example `echo_server`. Its output names no source file of the libraries.
//!
//! `cargo test -p ripcord-grpc` builds the example first. `cargo test --test examples` does not, and fails if the example was not built
//! since its source changed.
#![cfg(unix)]

#[path = "../examples/echo_server/service.rs"]
mod generated;
#[path = "grpcio/processes.rs"]
#[expect(dead_code, reason = "the test with grpcio needs more of it")]
mod processes;

use std::net::TcpListener;
use std::time::Duration;

use futures::StreamExt as _;
use tonic::Request;
use tonic::transport::Channel;

use generated::EchoRequest;
use generated::echo_client::EchoClient;

/// `Process` checks each line, and at the end the rest of the output.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn example_echo_server_names_no_source_file_of_the_libraries() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (mut server, address) = processes::echo_server(&["--upstream", &format!("http://{closed}")]);
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URL").connect().await;
    let mut client = EchoClient::new(channel.expect("it accepts"));
    let mut end = || server.json()["end"].as_str().expect("a text").to_owned();

    client.unary(EchoRequest { spawn: true, ..EchoRequest::default() }).await.expect("it succeeds");
    assert_eq!(end(), "ok");

    client.unary(EchoRequest { via_upstream: true, ..EchoRequest::default() }).await.expect_err("no upstream listens");
    assert_eq!(end(), "failed");

    let mut late = Request::new(EchoRequest { delay_ms: 3_600_000, spawn: true, ..EchoRequest::default() });
    late.set_timeout(Duration::from_millis(50));
    client.unary(late).await.expect_err("the deadline passes");
    // The client's deadline passes at the same moment. The client's reset may arrive before the server's timer fires.
    let late = end();
    assert!(["deadline_exceeded", "canceled"].contains(&late.as_str()), "{late}");

    let endless = EchoRequest { count: u32::MAX, ..EchoRequest::default() };
    let mut replies = client.server_stream(endless).await.expect("it succeeds").into_inner();
    replies.next().await.expect("a reply").expect("it succeeds");
    drop(replies);
    assert_eq!(end(), "canceled");

    drop(client);
    server.terminate();
    assert!(server.wait().is_empty());
}
