//! What the log, the metrics and the inspector show.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use super::refused;
use crate::common::Server;

#[test]
fn cause_from_a_trusted_client_is_logged() {
    let server = Server::start(&["--trusted-peer", "127.0.0.0/8"]);
    let send = |head: &str| {
        let mut client = TcpStream::connect(&server.address).expect("it accepts");
        write!(client, "{head}\r\nHost: test\r\nConnection: close\r\n\r\n").expect("it reads");
        client
    };
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = send(&format!("GET / HTTP/1.1\r\nX-Request-Id: req-17\r\nTraceparent: {traceparent}"));
    let cancel =
        format!("OPTIONS / HTTP/1.1\r\nRipcord-Cancel: {traceparent}\r\nRipcord-Cause: GET /page: client disconnected");
    // The cancel is refused until the request has arrived.
    let is_canceled = (0..10_000).any(|_| {
        let mut answer = String::new();
        send(&cancel).read_to_string(&mut answer).expect("an answer");
        answer.starts_with("HTTP/1.1 200 ")
    });
    assert!(is_canceled);
    let line = server.wait_for_log("client canceled: GET /page: client disconnected");
    assert!(line.contains("req-17"), "{line}");
    drop(request);
}

#[test]
fn finished_request_has_one_line_in_the_log() {
    let line = |server: &Server, part: &str| -> Value {
        let line = server.wait_for_log(part);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };

    let server = Server::start(&["--log-format", "json"]);
    let answer = server.request("/no/such?token=secret").answer();
    let logged = line(&server, "Request answered");
    assert_eq!((&logged["level"], &logged["method"], &logged["status"]), (&"INFO".into(), &"GET".into(), &404.into()));
    assert_eq!(logged["route"], "unmatched", "clients can make up paths");
    assert_eq!(logged["request_id"], answer.header("x-request-id"));
    assert!(logged["duration_ms"].is_f64() && logged["timestamp"].is_string(), "{logged}");
    assert!(!logged.to_string().contains("secret"), "{logged}");

    let server = Server::start(&["--log-format", "json", "--timeout", "1ms"]);
    let answer = server.request("/slow").answer();
    let logged = line(&server, "Request canceled");
    assert_eq!((&logged["route"], &logged["status"]), (&"/slow".into(), &504.into()));
    assert_eq!(logged["request_id"], answer.header("x-request-id"));
    assert_eq!(logged["cause"], "context deadline exceeded: the service's --timeout of 1ms (in GET /slow)");
}

#[test]
fn reason_of_a_failed_backend_is_in_the_log_with_the_request() {
    // Nothing listens on this port.
    let server = Server::start(&["--log-format", "json", "--backend", "http://127.0.0.1:1", "--breaker-failures", "3"]);
    let search = |part: &str| {
        let answer = server.request("/search?q=context").answer();
        let line = server.wait_for_log(part);
        let logged: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!((&logged["level"], &logged["backend"]), (&"WARN".into(), &"127.0.0.1:1".into()));
        assert_eq!(logged["request_id"], answer.header("x-request-id"));
        answer.status
    };
    assert_eq!(search("Backend failed: all 3 attempts failed, last error: "), 502);
    assert_eq!(search("Backend not asked: "), 503);
}

#[test]
#[cfg(unix)]
fn inspector_token_is_never_logged() {
    let token = "correct-horse-battery-staple";
    for format in ["text", "json"] {
        let mut server = Server::start(&["--log-format", format, "--inspector-token", token]);
        // Sends the token to the page, and to paths that do not use it. Each request has at most one log line.
        for path in ["/debug/contexts", "/debug/contexts/", "/slow/", "/no/such"] {
            server.request(&format!("{path}?token={token}")).answer();
        }
        server.request("/no/such").answer();
        server.terminate();
        let (code, log) = server.wait();
        assert_eq!(code, Some(0), "{log:#?}");
        assert!(log.iter().any(|line| line.contains("Request answered")), "{log:#?}");
        assert!(!log.iter().any(|line| line.contains(token)), "{log:#?}");
    }
}

#[test]
fn inspector_shows_the_queries_of_a_search() {
    let server = Server::start(&[]);
    assert_eq!(server.request("/search?q=context&timeout=1s").answer().status, 200);
    let inspector = server.request("/debug/contexts/json").answer().body;
    assert!(inspector.contains("\"name\":\"SELECT documents\""), "{inspector}");
}

#[test]
fn inspector_paths_are_404_without_the_inspector() {
    let server = Server::start(&["--no-inspector"]);
    for path in ["/debug/contexts", "/debug/contexts/", "/debug/contexts/json", "/debug/contexts/events"] {
        assert_eq!(server.request(path).answer().status, 404, "{path}");
    }
    let line = refused(&["serve", "--no-inspector", "--inspector-token", "correct-horse-battery-staple"]);
    assert!(line.contains("cannot be used with"), "{line}");
}

// Tested with the binary, because a process has only one recorder for the metrics that the core records.
#[test]
fn metrics_count_ended_contexts_by_name_and_the_tasks() {
    let server = Server::start(&[]);
    assert_eq!(server.request_within("/slow", 100).answer().status, 504);
    drop(server.request("/"));
    server.wait_for_log("client disconnected");
    let metrics = server.request("/metrics").answer().body;
    let value = |sample: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {sample} in {metrics}")).parse::<f64>().expect("a number")
    };
    assert_eq!(value("ripcord_contexts_ended_total{kind=\"deadline_exceeded\",name=\"GET /slow\"}"), 1.0);
    assert_eq!(value("ripcord_contexts_ended_total{kind=\"canceled\",name=\"GET /\"}"), 1.0);
    assert!(value("ripcord_tasks{task=\"connection\"}") >= 1.0, "the connection of this request");
    assert_eq!(value("ripcord_tasks{task=\"listener\"}"), 4.0, "the service and its three backends");
}

/// The log and the answers name the setting or the caller, never a line of code. The inspector shows lines for developers. These
/// are lines of the service, which uses the libraries, and never lines of the libraries.
#[test]
#[cfg(unix)]
fn log_and_responses_contain_no_source_line_and_the_inspector_only_lines_of_the_service() {
    let (mut outputs, mut pages) = (Vec::new(), Vec::new());
    let mut server = Server::start(&["--timeout", "400ms", "--grace", "100ms", "--log-format", "json"]);
    // A deadline, answers and metrics.
    for path in ["/", "/slow", "/search?q=context", "/nosuch", "/healthz", "/metrics"] {
        outputs.push(format!("{:?}", server.request(path).answer()));
    }
    for path in ["/debug/contexts", "/debug/contexts/json"] {
        pages.push(format!("{:?}", server.request(path).answer()));
    }
    server.terminate();
    outputs.extend(server.wait().1);
    // A disconnect, on a server whose deadline is late enough.
    let mut server = Server::start(&["--grace", "100ms", "--log-format", "json"]);
    drop(server.request("/slow"));
    outputs.extend(server.log_until("client disconnected"));
    // A cancel from the inspector.
    let exchange = server.request("/slow");
    outputs.extend(server.log_until("Slow request started"));
    let json: Value = serde_json::from_str(&server.request("/debug/contexts/json").answer().body).expect("JSON");
    let entry = json["live"].as_array().expect("a list").iter().find(|entry| entry["name"] == "GET /slow");
    let id = entry.expect("it is live")["id"].as_u64().expect("a number");
    let stream = TcpStream::connect(&server.address).expect("it accepts");
    write!(
        &stream,
        "POST /debug/contexts/cancel/{id} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.address
    )
    .expect("it reads");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut &stream, &mut answer).expect("it answers");
    assert!(answer.contains("\"canceled\":true"), "{answer}");
    pages.push(answer);
    outputs.push(format!("{:?}", exchange.answer()));
    pages.push(server.request("/debug/contexts/json").answer().body);
    assert!(pages.last().is_some_and(|page| page.contains("ripcord-cli/src/serve/app.rs")), "{pages:#?}");
    // The drain.
    let exchange = server.request("/slow");
    outputs.extend(server.log_until("Slow request started"));
    server.terminate();
    outputs.push(format!("{:?}", exchange.answer()));
    outputs.extend(server.wait().1);
    for end in ["--timeout of 400ms", "client disconnected", "from the inspector", "the drain time of 100ms is over"] {
        assert!(outputs.iter().any(|output| output.contains(end)), "no {end} in {outputs:#?}");
    }

    for output in outputs.iter().chain(&pages) {
        for library in ["ripcord/src/", "ripcord-http/src/", "ripcord-policy/src/", "ripcord-process/src/"] {
            assert!(!output.contains(library), "{library} in {output}");
        }
    }
    for output in outputs {
        assert!(!output.contains("ripcord-cli/src/") && !output.contains(".rs:"), "{output}");
    }
}
