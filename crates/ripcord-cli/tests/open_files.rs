//! Tests the service with fewer file descriptors than clients.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with tests that need more of it")]
mod common;

use std::{
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

use common::Server;

// With the default head timeout of 30 s, the limit would be 40 s.
#[test]
fn silent_clients_with_every_descriptor_block_others_for_at_most_the_head_timeout() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 200; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_ripcord")]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--head-timeout", "1s"]);
    let mut server = Server::spawn(command);
    let started = Instant::now();
    let silent: Vec<_> =
        (0..300).map(|_| TcpStream::connect(&server.address).expect("the kernel accepts it")).collect();
    let line = server.wait_for_log("Cannot accept connections");
    assert!(line.contains("Too many open files") && line.ends_with("Trying again every second"), "{line}");

    assert_eq!(server.request("/healthz").answer().status, 200);
    let took = started.elapsed();
    assert!(took <= Duration::from_secs(1 + 10), "{took:?}");
    drop(silent);
    server.terminate();
    let (code, log) = server.wait();
    assert_eq!(code, Some(0), "{log:#?}");
    let repeated = log.iter().filter(|line| line.contains("Cannot accept")).count();
    assert!(repeated as u64 <= started.elapsed().as_secs(), "at most one line per second: {log:#?}");
}
