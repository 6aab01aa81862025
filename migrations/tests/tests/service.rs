//! Compares the service of today with its ripcord version. Each has an upstream of its own.

use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use migrations_tests::{Answer, Program, Upstream, send};

struct Version {
    upstream: Upstream,
    program: Program,
}

impl Version {
    async fn start(package: &str) -> Version {
        let upstream = Upstream::start().await;
        let program = Program::of_package(package, &[&upstream.url, "127.0.0.1:0"]).await;
        Version { upstream, program }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.program.url)
    }
}

/// Starts both versions.
async fn versions() -> (Version, Version) {
    (Version::start("service-tokio").await, Version::start("service-ripcord").await)
}

/// Sends the same request to both versions at the same time.
async fn ask(versions: &(Version, Version), path: &str, headers: &[(&str, &str)]) -> (Answer, Answer) {
    tokio::join!(send(versions.0.url(path), headers), send(versions.1.url(path), headers))
}

#[tokio::test]
async fn known_user_is_loaded_once() {
    let versions = versions().await;
    for _ in 0..2 {
        let (today, ported) = ask(&versions, "/users/7", &[]).await;
        assert_eq!(today.text(), (200, "1999"));
        assert_eq!(ported.text(), (200, "1999"));
    }
    assert_eq!(versions.0.upstream.requests("/users/7").len(), 1);
    assert_eq!(versions.1.upstream.requests("/users/7").len(), 1);
}

#[tokio::test]
async fn list_is_loaded_in_the_background() {
    let (today, ported) = versions().await;
    for version in [today, ported] {
        while send(version.url("/top"), &[]).await.text() != (200, "7, 9") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(version.upstream.requests("/top").len(), 1);
    }
}

#[tokio::test]
async fn unknown_user_is_not_asked_for_again() {
    let versions = versions().await;
    let (today, ported) = ask(&versions, "/users/missing", &[]).await;
    assert_eq!(today.text(), (404, "No such user"));
    assert_eq!(ported.text(), (404, "No such user"));
    assert_eq!(versions.0.upstream.requests("/users/missing").len(), 1);
    assert_eq!(versions.1.upstream.requests("/users/missing").len(), 1);
}

#[tokio::test]
async fn failing_upstream_is_asked_three_times() {
    let versions = versions().await;
    let (today, ported) = ask(&versions, "/users/broken", &[]).await;
    assert_eq!(today.text(), (502, "The upstream has failed"));
    assert_eq!(ported.text(), (502, "The upstream has failed"));
    assert_eq!(versions.0.upstream.requests("/users/broken").len(), 3);
    assert_eq!(versions.1.upstream.requests("/users/broken").len(), 3);
}

#[tokio::test]
async fn slow_upstream_is_asked_three_times() {
    let versions = versions().await;
    let (today, ported) = ask(&versions, "/users/held", &[]).await;
    assert_eq!(today.text(), (504, "Request timed out"));
    assert_eq!(ported.text(), (504, "Request timed out"));
    assert_eq!(versions.0.upstream.requests("/users/held").len(), 3);
    assert_eq!(versions.1.upstream.requests("/users/held").len(), 3);
}

/// Gained: the deadline of a client ends the work for it, and reaches the upstream.
#[tokio::test]
async fn deadline_of_the_client() {
    let versions = versions().await;
    let (today, ported) = ask(&versions, "/users/late", &[("x-request-timeout-ms", "300")]).await;
    assert_eq!(today.text(), (200, "1999"));
    assert_eq!(ported.text(), (504, "Request timed out"));
    let [request] = &versions.0.upstream.requests("/users/late")[..] else { panic!("one request") };
    assert!(!request.headers.contains_key("x-request-timeout-ms"));
    let [request] = &versions.1.upstream.requests("/users/late")[..] else { panic!("one request") };
    let left: u64 = request.headers["x-request-timeout-ms"].to_str().unwrap().parse().unwrap();
    assert!((1..=300).contains(&left), "{left} ms");
}

/// Gained: the request ID reaches the upstream.
#[tokio::test]
async fn request_id() {
    let versions = versions().await;
    let (today, ported) = ask(&versions, "/users/7", &[("x-request-id", "of-the-client")]).await;
    assert_eq!(today.request_id.as_deref(), Some("of-the-client"));
    assert_eq!(ported.request_id.as_deref(), Some("of-the-client"));
    assert!(!versions.0.upstream.requests("/users/7")[0].headers.contains_key("x-request-id"));
    assert_eq!(versions.1.upstream.requests("/users/7")[0].headers["x-request-id"], "of-the-client");

    let (today, ported) = ask(&versions, "/users/7", &[]).await;
    assert!(today.request_id.is_some() && ported.request_id.is_some());
}

/// Gained: the log lines of a request have its ID. Lost: the access log has the route in place of the path, and the line of a retry
/// has no path.
#[tokio::test]
async fn log_of_a_request() {
    let versions = versions().await;
    ask(&versions, "/users/broken", &[("x-request-id", "of-the-client")]).await;
    let (today, ported) = (versions.0.program, versions.1.program);
    for line in [today.logs("trying again").await, today.logs("finished processing request").await] {
        assert!(line.contains("uri=/users/broken") && !line.contains("of-the-client"), "{line}");
    }
    let (retry, access) = (ported.logs("trying again").await, ported.logs("GET /users/{id}: 502 after").await);
    assert!(retry.contains(r#"id="of-the-client""#), "{retry}");
    assert!(access.contains(r#"id="of-the-client""#) && !access.contains("/users/broken"), "{access}");
}

/// Lost: an ID with characters that need escapes in a log is replaced.
#[tokio::test]
async fn request_id_with_a_space() {
    let versions = versions().await;
    let (today, ported) = ask(&versions, "/users/7", &[("x-request-id", "a b")]).await;
    assert_eq!(today.request_id.as_deref(), Some("a b"));
    assert!(ported.request_id.is_some_and(|id| id != "a b"));
}

#[tokio::test]
async fn request_that_ends_during_the_drain_is_answered() {
    let (today, ported) = versions().await;
    for Version { upstream, program } in [today, ported] {
        let asking = tokio::spawn(send(format!("{}/users/held", program.url), &[]));
        upstream.received("/users/held", 1).await;
        program.terminate();
        program.stops_listening().await;
        upstream.release();
        assert_eq!(asking.await.unwrap().text(), (200, "1999"));
        assert!(program.wait().await.success());
    }
}

#[tokio::test]
async fn request_that_outlasts_the_drain_is_canceled() {
    let (today, ported) = versions().await;
    for Version { upstream, program } in [today, ported] {
        let asking = tokio::spawn(send(format!("{}/users/held", program.url), &[]));
        upstream.received("/users/held", 1).await;
        program.terminate();
        assert_eq!(asking.await.unwrap().text(), (503, "Request canceled"));
        assert!(program.wait().await.success());
    }
}

/// Gained: a second signal ends the process.
#[tokio::test]
async fn second_signal() {
    const SIGTERM: i32 = 15;
    let (today, ported) = versions().await;
    let mut ends = Vec::new();
    for Version { upstream, program } in [today, ported] {
        let _asking = tokio::spawn(send(format!("{}/users/held", program.url), &[]));
        upstream.received("/users/held", 1).await;
        program.terminate();
        program.stops_listening().await;
        program.terminate();
        ends.push(program.wait().await.signal());
    }
    assert_eq!(ends, [None, Some(SIGTERM)]);
}
