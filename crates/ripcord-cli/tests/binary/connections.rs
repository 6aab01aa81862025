//! Signals, the drain, and limits of connections.

use std::io::Write as _;
use std::net::TcpStream;

use crate::common::Server;

#[test]
fn half_close_cancels_the_request_unless_allowed() {
    let server = Server::start(&[]);
    let exchange = server.request("/slow");
    server.wait_for_log("Slow request started");
    exchange.half_close();
    let line = server.wait_for_log("Request canceled");
    assert!(line.contains("status=499") && line.contains("client disconnected"), "{line}");

    let server = Server::start(&["--half-close", "allow"]);
    let exchange = server.request("/");
    server.wait_for_log("Request started");
    exchange.half_close();
    assert_eq!(exchange.answer().status, 200);
}

#[test]
#[cfg(unix)]
fn term_lets_requests_in_flight_finish() {
    let mut server = Server::start(&[]);
    let exchange = server.request("/");
    server.wait_for_log("Request started");

    server.terminate();
    let line = server.wait_for_log("Shutting down");
    assert!(line.contains("SIGTERM"), "{line}");
    let until = std::time::Instant::now() + crate::common::PATIENCE;
    while TcpStream::connect(&server.address).is_ok() {
        assert!(std::time::Instant::now() < until, "the listener is never closed");
    }

    let answer = exchange.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    assert!(answer.body.starts_with("Request processed successfully."));
    assert_eq!(server.wait().0, Some(0));
}

#[test]
#[cfg(unix)]
fn term_under_load_loses_nothing() {
    let mut server = Server::start(&["--grace", "1h"]);
    let streams: Vec<_> = (0..20).map(|_| server.request_kept("/debug/contexts/events")).collect();
    let requests: Vec<_> = (0..200).map(|_| server.request("/")).collect();
    for _ in &requests {
        server.wait_for_log("Request started");
    }

    server.terminate();
    for stream in streams {
        let body = stream.answer().body;
        assert!(body.ends_with("event: draining\ndata: {}\n\n\r\n0\r\n\r\n"), "{body:?}");
    }
    for request in requests {
        let answer = request.answer();
        assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    }
    // The grace is an hour, so the process ends because the last request has ended.
    let (code, log) = server.wait();
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("Every request has been answered")), "{log:#?}");
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_an_idle_server() {
    let mut server = Server::start(&[]);
    // An idle connection does not delay the end.
    let _idle = TcpStream::connect(&server.address).expect("it accepts");

    server.interrupt();
    let (code, log) = server.wait();
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(log.iter().any(|line| line.contains("SIGINT")));
}

#[test]
#[cfg(unix)]
fn term_cancels_stuck_requests_after_the_grace() {
    let mut server = Server::start(&["--grace", "100ms"]);
    let exchange = server.request("/slow");
    server.wait_for_log("Slow request started");

    server.terminate();
    let line = server.wait_for_log("Slow request canceled");
    assert!(line.contains("context canceled"), "{line}");
    assert!(line.contains("SIGTERM") && line.contains("the drain time of 100ms is over"), "who and why: {line}");

    let answer = exchange.answer();
    assert_eq!((answer.status, answer.body.as_str()), (503, "Request canceled"));
    assert_eq!(server.wait().0, Some(0));
}

#[test]
#[cfg(unix)]
fn second_signal_ends_the_process() {
    let mut server = Server::start(&["--grace", "1h"]);
    let _exchange = server.request("/slow");
    server.wait_for_log("Slow request started");

    server.terminate();
    server.wait_for_log("Shutting down");
    server.interrupt();
    assert_eq!(server.wait().0, None, "ended by the signal, not by itself");
}

#[test]
#[cfg(unix)]
fn drain_delay_reports_draining_while_requests_are_still_served() {
    let server = Server::start(&["--drain-delay", "60s"]);
    assert_eq!(server.request("/healthz").answer().status, 200);
    server.terminate();
    server.wait_for_log("Draining: requests are accepted for another 60s");
    let health = server.request("/healthz").answer();
    assert_eq!((health.status, health.body.as_str()), (503, "draining"));
    // The listener still accepts new requests. The client does not ask for a close.
    for path in ["/search?q=context&timeout=100ms", "/healthz", "/metrics", "/debug/contexts", "/nosuch"] {
        let answer = server.request_kept(path).answer();
        assert_eq!(answer.header("connection"), "close", "{answer:?}");
    }

    let mut server = Server::start(&["--drain-delay", "100ms"]);
    server.terminate();
    server.wait_for_log("Draining: requests are accepted for another 100ms");
    server.wait_for_log("Shutting down (SIGTERM received)");
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn idle_connection_is_closed_after_the_keep_alive_time() {
    let server = Server::start(&["--keep-alive", "50ms"]);
    let mut stream = TcpStream::connect(&server.address).expect("it accepts");
    stream.set_read_timeout(Some(crate::common::PATIENCE)).expect("a timeout above zero");
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
    let mut received = String::new();
    std::io::Read::read_to_string(&mut stream, &mut received).expect("the server closes in order");
    assert!(received.ends_with("ready"), "{received}");
}

#[test]
fn silent_connection_is_closed_after_the_head_timeout() {
    let server = Server::start(&["--head-timeout", "50ms"]);
    let mut stream = TcpStream::connect(&server.address).expect("it accepts");
    stream.set_read_timeout(Some(crate::common::PATIENCE)).expect("a timeout above zero");
    let mut received = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut received).expect("the server closes in order");
    assert!(received.is_empty(), "{received:?}");
}

#[test]
fn clients_beyond_the_connection_limit_wait_for_a_permit() {
    let server = Server::start(&["--max-connections", "1", "--keep-alive", "50ms"]);
    let first = TcpStream::connect(&server.address).expect("it accepts");
    write!(&first, "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
    // The answer arrives when the idle timeout has closed the first connection.
    assert_eq!(server.request("/healthz").answer().status, 200);
    drop(first);
}

#[test]
fn head_beyond_the_limit_is_answered_with_431() {
    let server = Server::start(&["--max-head", "8192"]);
    let mut stream = TcpStream::connect(&server.address).expect("it accepts");
    let head = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Long: {}\r\n\r\n", "x".repeat(9000));
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("the server closes in order");
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}
