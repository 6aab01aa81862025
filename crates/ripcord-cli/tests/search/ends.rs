//! Tests searches that end before their backends answer.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use axum::http::StatusCode;
use ripcord_cli::search::Query;

use super::{
    backend::Backend,
    service::{TestService, report, titles},
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn late_backend_loses_only_its_own_hits() {
    let (mut fast, mut slow) = (Backend::start().await, Backend::start().await);
    let service = TestService::new(&[&slow, &fast]);
    let searching = service.get("/search?q=a&timeout=1s");
    let hanging = slow.arrival().await;
    fast.arrival().await.find("in time");
    service.counted(&loaded(&fast)).await;

    service.time.advance(SECOND);
    let answer = searching.await.expect("no panic");
    assert_eq!(answer.status, StatusCode::OK);
    let json = answer.json();
    assert_eq!((&json["complete"], &json["took_ms"]), (&false.into(), &1000.0.into()));
    assert_eq!(titles(&json), ["in time"]);
    assert_eq!(report(&json, &fast)["outcome"], "ok");
    let late = report(&json, &slow);
    assert_eq!((&late["outcome"], &late["requests"], &late["took_ms"]), (&"late".into(), &1.into(), &1000.0.into()));
    assert_eq!(late["error"], "context deadline exceeded");
    hanging.gone().await;
}

// The server's limit ends the request itself. The handler is polled once more, and has no later time.
#[tokio::test]
async fn late_backend_without_a_client_timeout_ends_at_the_server_limit() {
    let (mut fast, mut slow) = (Backend::start().await, Backend::start().await);
    let service = TestService::new(&[&fast, &slow]);
    let searching = service.get("/search?q=a");
    let hanging = slow.arrival().await;
    fast.arrival().await.find("in time");
    service.counted(&loaded(&fast)).await;

    service.time.advance(5 * SECOND);
    let answer = searching.await.expect("no panic");
    assert_eq!((answer.status, titles(&answer.json())), (StatusCode::OK, vec!["in time"]));
    hanging.gone().await;
}

// A regression test: after the end of the context, the search took only one ready answer, and the others counted as late.
#[tokio::test]
async fn answers_ready_at_the_deadline_count() {
    let mut backends = [Backend::start().await, Backend::start().await, Backend::start().await];
    let [one, other, late] = &backends;
    let service = TestService::new(&[one, other, late]);
    let (ctx, query) = (service.server.with_timeout(SECOND), Query::parse("q=a").expect("well-formed"));
    // The search is polled by hand, so that the answers and the deadline are ready in one poll.
    let mut searching = pin!(service.search.run(&ctx, &query));
    assert!(poll_fn(|task| Poll::Ready(searching.as_mut().poll(task).is_pending())).await);
    let [one, other, late] = &mut backends;
    for backend in [one, other] {
        backend.arrival().await.find("in time");
        service.counted(&loaded(backend)).await;
    }
    let hanging = late.arrival().await;

    service.time.advance(SECOND);
    let Poll::Ready(answer) = poll_fn(|task| Poll::Ready(searching.as_mut().poll(task))).await else {
        panic!("it answers at its deadline, and not later");
    };
    let json = serde_json::to_value(&answer).expect("JSON");
    assert_eq!(titles(&json), ["in time", "in time"], "{json:#}");
    assert_eq!(report(&json, late)["outcome"], "late");
    hanging.gone().await;
}

#[tokio::test]
async fn nothing_in_time_is_504() {
    let (mut one, mut other) = (Backend::start().await, Backend::start().await);
    let service = TestService::new(&[&one, &other]);
    let searching = service.get("/search?q=a&timeout=1s");
    let hanging = [one.arrival().await, other.arrival().await];

    service.time.advance(SECOND);
    let answer = searching.await.expect("no panic");
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    let json = answer.json();
    assert_eq!(
        (report(&json, &one)["outcome"].as_str(), report(&json, &other)["outcome"].as_str()),
        (Some("late"), Some("late"))
    );
    for request in hanging {
        request.gone().await;
    }
}

#[tokio::test]
async fn disconnect_cancels_the_requests_to_backends() {
    let (mut one, mut other) = (Backend::start().await, Backend::start().await);
    let service = TestService::new(&[&one, &other]);
    let searching = service.get("/search?q=a");
    let hanging = [one.arrival().await, other.arrival().await];

    searching.abort();
    for request in hanging {
        request.gone().await;
    }
    service.counted("ripcord_http_requests_total{method=\"GET\",route=\"/search\",status=\"499\"} 1").await;
}

#[tokio::test]
async fn shutdown_during_a_search_returns_the_hits_so_far() {
    let (mut fast, mut slow) = (Backend::start().await, Backend::start().await);
    let service = TestService::new(&[&fast, &slow]);
    let (partial, nothing) = (service.get("/search?q=a"), service.get("/search?q=b"));
    let mut hanging = Vec::new();
    for _ in 0..2 {
        hanging.push(slow.arrival().await);
        let arrival = fast.arrival().await;
        match arrival.query.as_str() {
            "q=a" => arrival.find("in time"),
            _ => hanging.push(arrival),
        }
    }
    service.counted(&loaded(&fast)).await;

    service.shutdown.begin("SIGTERM");
    service.cancel.cancel_with("its grace is over");
    let (partial, nothing) = (partial.await.expect("no panic"), nothing.await.expect("no panic"));
    assert_eq!((partial.status, titles(&partial.json())), (StatusCode::OK, vec!["in time"]));
    assert_eq!(report(&partial.json(), &slow)["outcome"], "canceled");
    assert_eq!(nothing.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!nothing.body.contains("grace"), "causes are for the log: {}", nothing.body);
    for request in hanging {
        request.gone().await;
    }
}

#[tokio::test]
async fn draining_service_reports_draining_and_still_serves() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    let health = service.get("/healthz").await.expect("no panic");
    assert_eq!((health.status, health.body.as_str()), (StatusCode::OK, "ready"));

    service.shutdown.begin("SIGTERM");
    let health = service.get("/healthz").await.expect("no panic");
    assert_eq!((health.status, health.body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "draining"));
    // Only a closed listener refuses new requests.
    let search = service.get("/search?q=a");
    backend.arrival().await.find("during the drain");
    assert_eq!(search.await.expect("no panic").status, StatusCode::OK);
    assert_eq!(service.get("/metrics").await.expect("no panic").status, StatusCode::OK);
}

/// Returns the line of the metrics that counts the arrival of the backend's answer.
fn loaded(backend: &Backend) -> String {
    format!("ripcord_policy_calls_total{{policy=\"cache\",name=\"{}\",outcome=\"succeeded\"}} 1", backend.name())
}

// The deadline header cannot express less than a millisecond, so the client sends nothing.
#[tokio::test]
async fn unsent_request_without_enough_time_does_not_affect_the_breaker() {
    let mut backend = Backend::start().await;
    let service = TestService::with(&[&backend], |policies| policies.breaker_failures = 1);
    let hasty = service.get("/search?q=a&timeout=500us").await.expect("no panic");
    assert_ne!(hasty.status, StatusCode::OK);
    assert!(!backend.has_arrivals());
    let searching = service.get("/search?q=a");
    backend.arrival().await.find("it");
    assert_eq!(titles(&searching.await.expect("no panic").json()), ["it"], "the breaker is closed");
}
