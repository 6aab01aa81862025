//! Requests and searches.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Exchange, Server};

#[test]
fn root_answers_after_two_seconds() {
    let server = Server::start(&[]);
    let answer = server.request("/").answer();

    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    let id = answer.header("x-request-id");
    let number = id.strip_prefix("req-").expect("an id of the chapter's form");
    assert!(number.len() >= 19 && number.bytes().all(|byte| byte.is_ascii_digit()), "nanoseconds since 1970: {id}");
    assert_eq!(answer.body, format!("Request processed successfully. Request ID: {id}"));
    assert!(answer.took >= Duration::from_secs(2), "{answer:?}");

    assert!(server.wait_for_log("Request started").contains(id));
    assert!(server.wait_for_log("Work completed").contains(id));
}

#[test]
fn demo_shows_requests_that_succeed_exceed_a_deadline_and_are_canceled() {
    let server = Server::start(&["--demo"]);
    let mut missing = vec!["status=200", "status=504", "status=499"];
    while !missing.is_empty() {
        let line = server.wait_for_log("status=");
        missing.retain(|status| !line.contains(status));
        let page: Value = serde_json::from_str(&server.request("/debug/contexts/json").answer().body).expect("JSON");
        let live = page["live"].as_array().expect("a list");
        // The request for the page is one of them.
        assert!(live.len() > 1 || !page["finished"].as_array().expect("a list").is_empty(), "{page:#}");
    }
}

#[test]
fn unknown_path_is_404() {
    let answer = Server::start(&[]).request("/nosuch").answer();

    assert_eq!((answer.status, answer.body.as_str()), (404, "Not found"));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert!(answer.header("x-request-id").starts_with("req-"));
}

// The server of the chapter answers up to 36 of 100 such requests with an empty 200, because its handler and timeout race.
#[test]
fn slow_times_out_every_time() {
    let server = Server::start(&[]);
    let exchanges: Vec<_> = (0..500).map(|_| server.request("/slow")).collect();
    let answers: Vec<_> = exchanges.into_iter().map(Exchange::answer).collect();

    for answer in &answers {
        assert_eq!((answer.status, answer.body.as_str()), (504, "Request timed out"));
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        // The additional time depends on the load of the machine. `service.rs` limits it, on a manual clock.
        assert!(answer.took >= Duration::from_secs(5), "{answer:?}");
    }
    let ids: HashSet<_> = answers.iter().map(|answer| answer.header("x-request-id")).collect();
    assert_eq!(ids.len(), 500, "every request has an id of its own");

    let line = server.wait_for_log("Slow request canceled");
    assert!(line.contains("context deadline exceeded"), "{line}");
    assert!(
        line.contains("/slow") && line.contains("context deadline exceeded: the service's --timeout of 5s"),
        "{line}"
    );
}

#[test]
fn client_disconnect_cancels_its_request() {
    let server = Server::start(&[]);
    let exchange = server.request("/slow");
    server.wait_for_log("Slow request started");

    drop(exchange);
    let line = server.wait_for_log("Request canceled");
    assert!(line.contains("context canceled") && line.contains("client disconnected"), "{line}");
}

// The backends answer over real HTTP and in real time. The flaky backend needs two requests.
#[test]
fn search_without_backend_settings_asks_the_built_in_backends() {
    let server = Server::start(&["--timeout", "60s", "--attempt-timeout", "30s"]);
    let answer = server.request("/search?q=context").answer();
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let json: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((&json["complete"], &json["request_id"]), (&true.into(), &answer.header("x-request-id").into()));

    let backends = json["backends"].as_array().expect("a list");
    let fared: Vec<_> = backends.iter().map(|backend| (&backend["name"], &backend["outcome"])).collect();
    let ok = &Value::from("ok");
    assert_eq!(fared, [(&"fast".into(), ok), (&"slow".into(), ok), (&"flaky".into(), ok)], "{json:#}");
    assert!(backends[1]["took_ms"].as_f64() >= Some(1500.0), "{json:#}");
    assert!(backends[2]["requests"].as_u64() >= Some(2), "{json:#}");
    assert!(backends.iter().all(|backend| backend["hits"].as_u64() >= Some(1)), "{json:#}");

    // The log has a line with the request ID. The second search gets all answers from the cache.
    let line = server.wait_for_log("Request answered");
    assert!(line.contains("route=\"/search\"") && line.contains(answer.header("x-request-id")), "{line}");
    let json: Value = serde_json::from_str(&server.request("/search?q=context").answer().body).expect("JSON");
    let sources: Vec<_> =
        json["backends"].as_array().expect("a list").iter().map(|backend| &backend["cache"]).collect();
    assert_eq!(sources, ["hit", "hit", "hit"], "{json:#}");
}

#[test]
fn search_with_a_backend_setting_asks_that_backend() {
    let backend = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let name = format!("{}/find", backend.local_addr().expect("it is bound"));
    let asked = std::thread::spawn(move || {
        let (mut stream, _) = backend.accept().expect("somebody asks");
        let mut head = String::new();
        let mut lines = BufReader::new(&stream);
        while !head.ends_with("\r\n\r\n") {
            assert!(lines.read_line(&mut head).expect("text") > 0, "no whole head: {head}");
        }
        let body = r#"{"hits":[{"title":"from elsewhere","snippet":"…"}]}"#;
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
            .expect("it reads");
        head
    });

    let server = Server::start(&["--backend", &format!("http://{name}")]);
    let answer = server.request("/search?q=a+b").answer();
    let head = asked.join().expect("it is asked");
    assert!(head.starts_with("GET /find?q=a+b HTTP/1.1\r\n"), "{head}");
    let id = answer.header("x-request-id");
    assert!(head.contains(&format!("x-request-id: {id}\r\n")) && head.contains("x-request-timeout-ms: "), "{head}");
    let json: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((&json["hits"][0]["title"], &json["backends"][0]["name"]), (&"from elsewhere".into(), &name.into()));
}
