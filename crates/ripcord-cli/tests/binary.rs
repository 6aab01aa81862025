//! Tests the real binary over real sockets.

mod common;

use std::{
    collections::HashSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use common::{Exchange, Server, run};
use serde_json::Value;

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

#[test]
fn finished_request_has_one_line_in_the_log() {
    let server = Server::start(&["--log-format", "json", "--timeout", "1ms"]);
    let line = |part: &str| -> Value {
        let line = server.wait_for_log(part);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };

    let answer = server.request("/no/such?token=secret").answer();
    let logged = line("Request answered");
    assert_eq!((&logged["level"], &logged["method"], &logged["status"]), (&"INFO".into(), &"GET".into(), &404.into()));
    assert_eq!(logged["route"], "unmatched", "clients can make up paths");
    assert_eq!(logged["request_id"], answer.header("x-request-id"));
    assert!(logged["duration_ms"].is_f64() && logged["timestamp"].is_string(), "{logged}");
    assert!(!logged.to_string().contains("secret"), "{logged}");

    let answer = server.request("/slow").answer();
    let logged = line("Request canceled");
    assert_eq!((&logged["route"], &logged["status"]), (&"/slow".into(), &504.into()));
    assert_eq!(logged["request_id"], answer.header("x-request-id"));
    assert_eq!(logged["cause"], "context deadline exceeded: the service's --timeout of 1ms (in GET /slow)");
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
        assert_eq!(code, Some(0));
        assert!(log.iter().any(|line| line.contains("Request answered")), "{log:#?}");
        assert!(!log.iter().any(|line| line.contains(token)), "{log:#?}");
    }
}

#[test]
#[cfg(unix)]
fn flag_overrides_the_file() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("flag_beats_file.toml");
    std::fs::write(&path, "grace = \"7s\"\nlog_format = \"json\"\nlisten = \"nowhere:1\"\n")
        .expect("a directory for this");
    let path = path.to_str().expect("text");

    let mut server = Server::start(&["--config", path, "--grace", "3s"]);
    server.terminate();
    let line = server.wait_for_log("Shutting down");
    let json: Value = serde_json::from_str(&line).expect("the file asks for JSON");
    assert_eq!(json["message"], "Shutting down (SIGTERM received): requests in flight have 3s to finish");
    assert_eq!(server.wait().0, Some(0));
}

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
    let until = std::time::Instant::now() + common::PATIENCE;
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
    assert_eq!(code, Some(0));
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
    assert_eq!(code, Some(0));
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
fn port_in_use_is_one_line_and_exit_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();

    let line = refused(&["serve", "--listen", &address]);
    assert!(line.starts_with(&format!("ripcord: cannot listen on {address}: ")), "{line}");
}

#[test]
fn flags_out_of_bounds_are_one_line_and_exit_2() {
    let listen = "expected HOST:PORT, such as 127.0.0.1:8080";
    let cases = [
        ("--listen", "nonsense", listen),
        ("--listen", "127.0.0.1", listen),
        ("--listen", "127.0.0.1:http", listen),
        ("--listen", "127.0.0.1:65536", listen),
        ("--listen", ":8080", listen),
        ("--listen", "", listen),
        ("--grace", "25h", "expected a duration from 0ns to 24h, such as 500ms or 5s"),
        ("--timeout", "0s", "expected a duration from 1ms to 24h, such as 500ms or 5s"),
        ("--retry-attempts", "0", "expected a whole number from 1 to 10"),
        ("--limiter-rate", "NaN", "expected a number above 0 and at most 1000000"),
        ("--backend", "https://there", "expected an http:// URL without a query"),
        ("--trusted-peer", "localhost", "expected an address or a network"),
    ];
    for (flag, value, expected) in cases {
        let line = refused(&["serve", flag, value]);
        assert!(
            line.starts_with("ripcord: invalid value ") && line.contains(flag) && line.contains(expected),
            "{line}"
        );
    }
    assert_eq!(refused(&["serve", "--prot", "80"]), "ripcord: unexpected argument '--prot' found");
    let line = refused(&["serve", "--half-close", "maybe"]);
    assert!(line.starts_with("ripcord: invalid value 'maybe' for '--half-close"), "{line}");
}

#[test]
fn invalid_settings_file_prints_one_line_and_exits_with_2() {
    let missing = refused(&["serve", "--config", "/nonexistent/ripcord.toml"]);
    assert!(missing.starts_with("ripcord: cannot read /nonexistent/ripcord.toml: "), "{missing}");

    // A directory can be opened, but not read.
    let directory = refused(&["serve", "--config", env!("CARGO_TARGET_TMPDIR")]);
    assert!(directory.starts_with(&format!("ripcord: cannot read {}: ", env!("CARGO_TARGET_TMPDIR"))), "{directory}");

    let no_text = settings_file("no_text.toml", "");
    std::fs::write(&no_text, b"grace = \"\xff\"").expect("it is there");
    let line = refused(&["serve", "--config", &no_text]);
    assert!(line.starts_with(&format!("ripcord: cannot read {no_text}: ")), "{line}");

    let unknown = settings_file("unknown.toml", "grace = \"1s\"\ntimeuot = \"5s\"\n");
    let line = refused(&["serve", "--config", &unknown]);
    assert!(line.starts_with(&format!("ripcord: {unknown}:2:1: unknown field `timeuot`")), "{line}");

    let bound = settings_file("bound.toml", "retry_attempts = 11\n");
    let line = refused(&["serve", "--config", &bound]);
    let expected = format!("ripcord: {bound}:1:18: retry_attempts: expected a whole number from 1 to 10, got 11");
    assert_eq!(line, expected);

    let twice = settings_file("twice.toml", "backends = [\"http://127.0.0.1:1/\", \"http://127.0.0.1:1/\"]\n");
    let line = refused(&["serve", "--listen", "127.0.0.1:0", "--config", &twice]);
    assert_eq!(line, "ripcord: backends must be given once each, got 127.0.0.1:1 twice");
}

#[test]
fn inspector_shows_the_queries_of_a_search() {
    let server = Server::start(&[]);
    assert_eq!(server.request("/search?q=context&timeout=1s").answer().status, 200);
    let inspector = server.request("/debug/contexts/json").answer().body;
    assert!(inspector.contains("\"name\":\"SELECT documents\""), "{inspector}");
}

// The URL contains the password, so no message contains a part of the URL.
#[test]
fn database_that_cannot_be_used_is_one_line_and_exit_2_without_the_password() {
    let expected =
        "ripcord: database_url must be a URL such as postgres://USER:PASSWORD@HOST/DATABASE, got another text";
    for url in [
        "",
        "hunter2",
        "host=localhost password=hunter2",
        "mysql://shop:hunter2@localhost/shop",
        "postgres://shop:hunter2@localhost:99999/shop",
        "postgres://shop@localhost/shop?password=hunter2&hunter3=1",
    ] {
        assert_eq!(refused(&["serve", "--listen", "127.0.0.1:0", "--database-url", url]), expected, "{url}");
        let file = settings_file("bad_database.toml", &format!("database_url = \"{url}\""));
        assert_eq!(refused(&["serve", "--listen", "127.0.0.1:0", "--config", &file]), expected, "{url}");
    }

    // No server listens on this port.
    let unreachable = "postgres://shop:hunter2@127.0.0.1:1/shop";
    let line = refused(&["serve", "--listen", "127.0.0.1:0", "--database-url", unreachable]);
    assert!(
        line.starts_with("ripcord: cannot start: cannot set up the database: transaction: cannot connect: "),
        "{line}"
    );
    assert!(line.contains("Connection refused") && !line.contains("hunter2"), "{line}");

    let backend = ["--backend", "http://127.0.0.1:1/search"];
    let line = refused(&[&["serve", "--database-url", unreachable][..], &backend].concat());
    assert!(line.starts_with("ripcord: database_url must be given without a backend"), "{line}");
    let file = settings_file("database.toml", &format!("database_url = \"{unreachable}\""));
    let line = refused(&[&["serve", "--config", &file][..], &backend].concat());
    assert!(line.starts_with("ripcord: database_url must be given without a backend"), "{line}");
}

/// Writes a file of settings, and returns its path.
fn settings_file(name: &str, text: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("a directory for this");
    path.into_os_string().into_string().expect("text")
}

/// Runs the binary, which must print a one-line error and exit with code 2. Returns the line.
#[track_caller]
fn refused(args: &[&str]) -> String {
    let (code, stdout, mut stderr) = run(args);
    assert_eq!((code, stdout.len(), stderr.len()), (Some(2), 0, 1), "{stdout:?} {stderr:?}");
    stderr.remove(0)
}

// ===== Settings of the shutdown, the connections and the inspector =====

#[test]
#[cfg(unix)]
fn drain_delay_reports_draining_while_requests_are_still_served() {
    let mut server = Server::start(&["--drain-delay", "2s"]);
    assert_eq!(server.request("/healthz").answer().status, 200);
    server.terminate();
    server.wait_for_log("Draining: requests are accepted for another 2s");
    let health = server.request("/healthz").answer();
    assert_eq!((health.status, health.body.as_str()), (503, "draining"));
    // The listener still accepts new requests. The client does not ask for a close.
    for path in ["/search?q=context&timeout=100ms", "/healthz", "/metrics", "/debug/contexts", "/nosuch"] {
        let answer = server.request_kept(path).answer();
        assert_eq!(answer.header("connection"), "close", "{answer:?}");
    }
    server.wait_for_log("Shutting down (SIGTERM received)");
    assert_eq!(server.wait().0, Some(0));
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

#[test]
fn idle_connection_is_closed_after_the_keep_alive_time() {
    let server = Server::start(&["--keep-alive", "50ms"]);
    let mut stream = TcpStream::connect(&server.address).expect("it accepts");
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout above zero");
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
    let mut received = String::new();
    std::io::Read::read_to_string(&mut stream, &mut received).expect("the server closes in order");
    assert!(received.ends_with("ready"), "{received}");
}

#[test]
fn silent_connection_is_closed_after_the_head_timeout() {
    let server = Server::start(&["--head-timeout", "50ms"]);
    let mut stream = TcpStream::connect(&server.address).expect("it accepts");
    stream.set_read_timeout(Some(common::PATIENCE)).expect("a timeout above zero");
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

#[test]
fn help_documents_each_setting_and_the_proxy_that_exposes_the_inspector() {
    let (code, stdout, _) = run(&["serve", "--help"]);
    let help = stdout.join("\n");
    assert_eq!(code, Some(0));
    for setting in [
        "--drain-delay",
        "--keep-alive",
        "--head-timeout",
        "--max-connections",
        "--max-head",
        "--no-inspector",
        "--inspector-token",
        "--database-url",
        "[default: 75s]",
        "[default: 30s]",
        "[default: 16384]",
        "[default: 131072]",
        "[default: 0s]",
        "proxy_pass http://127.0.0.1:8080;",
    ] {
        assert!(help.contains(setting), "no {setting} in {help}");
    }
}

// Tested with the binary, because a process has only one recorder for the metrics that the core records.
#[test]
fn metrics_count_ended_contexts_by_name_and_the_tasks() {
    let server = Server::start(&["--timeout", "100ms"]);
    assert_eq!(server.request("/slow").answer().status, 504);
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
    // A disconnect.
    drop(server.request("/slow"));
    outputs.extend(server.log_until("client disconnected"));
    server.terminate();
    outputs.extend(server.wait().1);
    // A cancel from the inspector, on a server whose deadline is late enough.
    let mut server = Server::start(&["--grace", "100ms", "--log-format", "json"]);
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
