//! Compares the crawler in Go with its ripcord version. `scripts/migrations` builds the former, and runs these tests.

use std::env;

use migrations_tests::{Answer, Program, Upstream, send};

/// Starts the crawler in Go and its ripcord version.
async fn versions() -> (Program, Program) {
    let go = env::var("CRAWLER_GO").expect("CRAWLER_GO is the path of the crawler in Go");
    (Program::start(&go, &["127.0.0.1:0"]).await, Program::of_package("crawler-ripcord", &["127.0.0.1:0"]).await)
}

/// Sends the same request to both versions at the same time.
async fn crawl(versions: &(Program, Program), start: &str, headers: &[(&str, &str)]) -> (Answer, Answer) {
    let url = |program: &Program| format!("{}/crawl?url={start}", program.url);
    tokio::join!(send(url(&versions.0), headers), send(url(&versions.1), headers))
}

#[tokio::test]
#[ignore = "needs Go: run scripts/migrations"]
async fn pages_of_a_site_are_listed() {
    let (versions, upstream) = (versions().await, Upstream::start().await);
    let (today, ported) = crawl(&versions, &format!("{}/site/start", upstream.url), &[]).await;
    let site = format!("{}/site", upstream.url);
    let expected = format!("200 {site}/start\n200 {site}/a\n200 {site}/b\n404 {site}/missing\n");
    assert_eq!(today.text(), (200, &*expected));
    assert_eq!(ported.text(), (200, &*expected));
}

#[tokio::test]
#[ignore = "needs Go: run scripts/migrations"]
async fn page_that_does_not_exist_is_listed() {
    let (versions, upstream) = (versions().await, Upstream::start().await);
    let start = format!("{}/nothing", upstream.url);
    let (today, ported) = crawl(&versions, &start, &[]).await;
    let expected = format!("404 {start}\n");
    assert_eq!(today.text(), (200, &*expected));
    assert_eq!(ported.text(), (200, &*expected));
}

#[tokio::test]
#[ignore = "needs Go: run scripts/migrations"]
async fn malformed_url_is_refused() {
    let versions = versions().await;
    let (today, ported) = crawl(&versions, "here", &[]).await;
    assert_eq!(today.text(), (400, "the parameter url is missing or malformed\n"));
    assert_eq!(ported.text(), today.text());
}

#[tokio::test]
#[ignore = "needs Go: run scripts/migrations"]
async fn slow_page_ends_the_crawl() {
    let (versions, upstream) = (versions().await, Upstream::start().await);
    let start = format!("{}/site/held", upstream.url);
    let (today, ported) = crawl(&versions, &start, &[]).await;
    let expected = format!("Get \"{start}\": context deadline exceeded\n");
    assert_eq!(today.text(), (504, &*expected));
    assert_eq!(ported.text(), (504, &*expected));
}

/// Gained: the deadline of a client ends the crawl, and reaches the crawled site.
#[tokio::test]
#[ignore = "needs Go: run scripts/migrations"]
async fn deadline_of_the_client() {
    let (versions, upstream) = (versions().await, Upstream::start().await);
    let start = format!("{}/chain/4", upstream.url);
    let (today, ported) = crawl(&versions, &start, &[("x-request-timeout-ms", "500")]).await;
    assert_eq!(today.status, 200);
    assert_eq!(today.body.lines().count(), 5);
    assert_eq!(ported.text(), (504, "Request timed out"));
    let sent = upstream
        .requests("/chain/4")
        .iter()
        .filter(|request| request.headers.contains_key("x-request-timeout-ms"))
        .count();
    assert_eq!(sent, 1);
}

/// Gained: each answer has an ID, which reaches the crawled site.
#[tokio::test]
#[ignore = "needs Go: run scripts/migrations"]
async fn request_id() {
    let (versions, upstream) = (versions().await, Upstream::start().await);
    let (today, ported) = crawl(&versions, &format!("{}/site/start", upstream.url), &[]).await;
    assert_eq!(today.request_id, None);
    let id = ported.request_id.expect("an ID");
    let ids: Vec<_> = upstream
        .requests("/site/a")
        .iter()
        .filter_map(|request| request.headers.get("x-request-id").cloned())
        .collect();
    assert_eq!(ids, [&*id]);
}

#[tokio::test]
#[ignore = "needs Go: run scripts/migrations"]
async fn crawl_that_ends_during_the_drain_is_answered() {
    let (today, ported) = versions().await;
    for program in [today, ported] {
        let upstream = Upstream::start().await;
        let asking = tokio::spawn(send(format!("{}/crawl?url={}/site/held", program.url, upstream.url), &[]));
        upstream.received("/site/held", 1).await;
        program.terminate();
        program.stops_listening().await;
        upstream.release();
        assert_eq!(asking.await.unwrap().status, 200);
        assert!(program.wait().await.success());
    }
}

/// Different: ripcord answers with a fixed text, where Go has the address of a page.
#[tokio::test]
#[ignore = "needs Go: run scripts/migrations"]
async fn crawl_that_outlasts_the_drain_is_canceled() {
    let (today, ported) = versions().await;
    let mut answers = Vec::new();
    for program in [today, ported] {
        let upstream = Upstream::start().await;
        let asking = tokio::spawn(send(format!("{}/crawl?url={}/chain/15", program.url, upstream.url), &[]));
        upstream.received("/chain/15", 1).await;
        program.terminate();
        answers.push(asking.await.unwrap());
        assert!(program.wait().await.success());
    }
    let [today, ported] = &answers[..] else { panic!("two answers") };
    assert_eq!(today.status, 503);
    assert!(today.body.ends_with("\": context canceled\n"), "{}", today.body);
    assert_eq!(ported.text(), (503, "Request canceled"));
}
