//! Tests the effects of a backend's policies on a search.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;

use super::{
    backend::Backend,
    service::{TestService, report, titles},
};

const SECOND: Duration = Duration::from_secs(1);

fn unavailable() -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, "out of luck".to_owned())
}

#[tokio::test]
async fn failure_is_retried() {
    let mut backend = Backend::start().await;
    let service = TestService::in_real_time(&[&backend], |policies| policies.retry_attempts = 3);
    let searching = service.get("/search?q=a");
    backend.arrival().await.answer(unavailable());
    backend.arrival().await.find("at last");

    let json = searching.await.expect("no panic").json();
    assert_eq!(titles(&json), ["at last"]);
    assert_eq!((&report(&json, &backend)["outcome"], &report(&json, &backend)["requests"]), (&"ok".into(), &2.into()));
    service.counted(&format!("ripcord_retry_retries_total{{name=\"{}\"}} 1", backend.name())).await;
}

#[tokio::test]
async fn permanent_failure_is_not_retried() {
    let mut backend = Backend::start().await;
    let service = TestService::in_real_time(&[&backend], |policies| policies.retry_attempts = 3);
    let searching = service.get("/search?q=a");
    backend.arrival().await.answer((StatusCode::NOT_FOUND, String::new()));

    let json = searching.await.expect("no panic").json();
    assert_eq!(
        (&report(&json, &backend)["outcome"], &report(&json, &backend)["requests"]),
        (&"failed".into(), &1.into())
    );
}

#[tokio::test]
async fn attempt_timeout_is_named_as_the_last_error() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| {
        policies.attempt_timeout = SECOND / 10;
        policies.retry_attempts = 1;
    });
    let searching = service.get("/search?q=a");
    let stalled = backend.arrival().await;
    service.time.advance(SECOND / 10);

    let json = searching.await.expect("no panic").json();
    let error = &report(&json, &backend)["error"];
    assert_eq!(error, "the only attempt failed, last error: attempt timed out after 100ms");
    stalled.gone().await;
}

#[tokio::test]
async fn slow_request_is_hedged_and_the_first_answer_counts() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| policies.hedge_after = Some(SECOND / 10));
    let searching = service.get("/search?q=a");
    let stalled = backend.arrival().await;
    service.time.advance(SECOND / 10);
    backend.arrival().await.find("the second");

    let json = searching.await.expect("no panic").json();
    assert_eq!((titles(&json), &report(&json, &backend)["requests"]), (vec!["the second"], &2.into()));
    stalled.gone().await;
    service.counted(&format!("ripcord_hedge_hedges_total{{name=\"{}\"}} 1", backend.name())).await;
}

#[tokio::test]
async fn canceled_attempt_of_a_hedge_names_the_line_that_set_the_hedge() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| policies.hedge_after = Some(SECOND / 10));
    let searching = service.get("/search?q=a");
    let stalled = backend.arrival().await;
    service.time.advance(SECOND / 10);
    backend.arrival().await.find("the second");
    searching.await.expect("no panic");
    stalled.gone().await;

    let page = service.get_from(Some("127.0.0.1:4000"), "/debug/contexts/json", &[("host", "localhost")]);
    let page = page.await.expect("no panic").json();
    let spans: Vec<&Value> =
        page["finished"].as_array().expect("groups").iter().flat_map(entries).flat_map(spans).collect();
    let canceled = spans.iter().find(|span| span["end"]["causes"][0] == "another attempt of the same call won");
    let location = canceled.unwrap_or_else(|| panic!("{page:#}"))["end"]["location"].as_str().expect("a line");
    assert!(location.contains("ripcord-cli/src/search/backend.rs:"), "{location}");
}

fn entries(group: &Value) -> &[Value] {
    group["kept"].as_array().expect("entries")
}

fn spans(entry: &Value) -> &[Value] {
    entry["spans"].as_array().expect("spans")
}

#[tokio::test]
async fn failing_backend_opens_its_breaker() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| {
        policies.breaker_failures = 2;
        policies.breaker_open_for = 8 * SECOND;
    });
    for query in ["a", "b"] {
        let searching = service.get(&format!("/search?q={query}"));
        backend.arrival().await.answer(unavailable());
        assert_eq!(searching.await.expect("no panic").status, StatusCode::BAD_GATEWAY);
    }
    let name = backend.name().to_owned();
    service.counted(&format!("ripcord_breaker_state{{name=\"{name}\"}} 2")).await;

    service.time.advance(SECOND / 2);
    let answer = service.get("/search?q=c").await.expect("no panic");
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "8"));
    let json = answer.json();
    let rejected = report(&json, &backend);
    assert_eq!((&rejected["outcome"], &rejected["requests"]), (&"rejected".into(), &0.into()));
    assert_eq!(rejected["retry_after_ms"], 7500.0);
    assert!(rejected["error"].as_str().expect("text").contains("is OPEN"), "{rejected}");
    assert!(!backend.has_arrivals());

    // Then the breaker lets one request through as a probe.
    service.time.advance(8 * SECOND);
    let searching = service.get("/search?q=d");
    backend.arrival().await.find("well again");
    assert_eq!(searching.await.expect("no panic").status, StatusCode::OK);
    service.counted(&format!("ripcord_breaker_state{{name=\"{name}\"}} 0")).await;
}

// If the retry would have to wait beyond the deadline, the answer reports the rejection.
#[tokio::test]
async fn open_breaker_below_a_retry_is_a_rejection() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| {
        policies.breaker_failures = 1;
        policies.breaker_open_for = 8 * SECOND;
        policies.retry_attempts = 3;
    });
    let searching = service.get("/search?q=a");
    backend.arrival().await.answer(unavailable());
    service.counted(&format!("ripcord_breaker_state{{name=\"{}\"}} 2", backend.name())).await;

    let json = service.get("/search?q=b").await.expect("no panic").json();
    let rejected = report(&json, &backend);
    assert_eq!((&rejected["outcome"], &rejected["requests"]), (&"rejected".into(), &0.into()));
    assert_eq!(rejected["retry_after_ms"], 8000.0);
    searching.abort();
}

#[tokio::test]
async fn canceled_searches_do_not_trip_the_breaker() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| policies.breaker_failures = 1);
    for query in ["a", "b", "c"] {
        let searching = service.get(&format!("/search?q={query}"));
        let arrival = backend.arrival().await;
        searching.abort();
        arrival.gone().await;
    }
    let searching = service.get("/search?q=d");
    backend.arrival().await.find("it");
    assert_eq!(searching.await.expect("no panic").status, StatusCode::OK);
}

#[tokio::test]
async fn request_that_cannot_be_sent_in_time_is_not_started() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| {
        policies.limiter_rate = 0.1;
        policies.limiter_burst = 1;
    });
    let searching = service.get("/search?q=a");
    backend.arrival().await.find("the burst");
    assert_eq!(searching.await.expect("no panic").status, StatusCode::OK);

    let answer = service.get("/search?q=b").await.expect("no panic");
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let json = answer.json();
    assert_eq!(
        (&report(&json, &backend)["outcome"], &report(&json, &backend)["requests"]),
        (&"rejected".into(), &0.into())
    );
    assert!(!backend.has_arrivals());
}

#[tokio::test]
async fn answer_is_cached_until_its_ttl() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| policies.cache_ttl = 30 * SECOND);
    let searching = service.get("/search?q=a");
    backend.arrival().await.find("first");
    assert_eq!(report(&searching.await.expect("no panic").json(), &backend)["cache"], "miss");

    let json = service.get("/search?q=a").await.expect("no panic").json();
    assert_eq!((&report(&json, &backend)["cache"], &report(&json, &backend)["requests"]), (&"hit".into(), &0.into()));
    assert_eq!(titles(&json), ["first"]);
    assert!(!backend.has_arrivals());
    let name = backend.name().to_owned();
    service.counted(&format!("ripcord_cache_reads_total{{name=\"{name}\",result=\"hit\"}} 1")).await;

    service.time.advance(30 * SECOND);
    let searching = service.get("/search?q=a");
    backend.arrival().await.find("second");
    assert_eq!(titles(&searching.await.expect("no panic").json()), ["second"]);
}

#[tokio::test]
async fn concurrent_searches_for_the_same_words_share_a_request() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    let first = service.get("/search?q=a");
    let arrival = backend.arrival().await;
    let second = service.get("/search?q=a");
    let name = backend.name().to_owned();
    service.counted(&format!("ripcord_cache_reads_total{{name=\"{name}\",result=\"shared\"}} 1")).await;

    // If the first search disconnects, the shared request continues, because another search waits for it.
    first.abort();
    service.counted("ripcord_http_requests_total{method=\"GET\",route=\"/search\",status=\"499\"} 1").await;
    arrival.find("for both");
    let json = second.await.expect("no panic").json();
    assert_eq!((titles(&json), &report(&json, &backend)["cache"]), (vec!["for both"], &"shared".into()));
    assert_eq!(report(&json, &backend)["requests"], 0);
}

// A backend gets the deadline with the request, and stops at this deadline.
#[tokio::test]
async fn search_with_more_time_sends_its_own_request_after_the_joined_request_times_out() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    let hasty = service.get("/search?q=a&timeout=1s");
    let stalled = backend.arrival().await;
    assert_eq!(stalled.header("x-request-timeout-ms"), "1000");
    let patient = service.get("/search?q=a&timeout=4s");
    let name = backend.name().to_owned();
    service.counted(&format!("ripcord_cache_reads_total{{name=\"{name}\",result=\"shared\"}} 1")).await;

    service.time.advance(SECOND);
    assert_eq!(hasty.await.expect("no panic").status, StatusCode::GATEWAY_TIMEOUT);
    stalled.gone().await;
    let again = backend.arrival().await;
    assert_eq!(again.header("x-request-timeout-ms"), "3000");
    again.find("it");
    let json = patient.await.expect("no panic").json();
    let report = report(&json, &backend);
    assert_eq!((&report["outcome"], &json["took_ms"]), (&"ok".into(), &1000.0.into()), "{report}");
}

// The time left of an attempt may be too short to be sent. Then the attempt fails at once. No second attempt is made for other
// searches with more time, because no attempt could be sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempt_without_enough_time_is_made_once() {
    let backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| policies.attempt_timeout = SECOND / 2000);
    let searching = service.get("/search?q=a");
    service.counted(&format!("ripcord_stack_attempts_total{{name=\"{}\"}} 1", backend.name())).await;

    service.time.advance(SECOND / 2000);
    let json = searching.await.expect("no panic").json();
    let report = report(&json, &backend);
    assert_eq!((&report["outcome"], &report["requests"]), (&"failed".into(), &1.into()), "{report}");
    assert!(!backend.has_arrivals());
}
