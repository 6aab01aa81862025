//! Tests the trusted headers of a request, and the headers that the backends get.

use std::time::Duration;

use axum::http::StatusCode;

use super::{backend::Backend, service::TestService};

const HEADERS: [(&str, &str); 3] = [
    ("x-request-id", "theirs-17"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("baggage", "user=7"),
];

#[tokio::test]
async fn untrusted_client_sets_neither_request_id_nor_trace() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]).trusting("10.0.0.0/8");
    for peer in [None, Some("192.0.2.1:1")] {
        let searching = service.get_from(peer, &format!("/search?q={}", peer.map_or(0, str::len)), &HEADERS);
        let arrival = backend.arrival().await;
        assert!(arrival.header("x-request-id").starts_with("req-"));
        assert!(!arrival.header("traceparent").contains("0af7651916cd43dd8448eb211c80319c"));
        assert_eq!(arrival.headers.get("baggage"), None);
        let id = arrival.header("x-request-id").to_owned();
        arrival.find("it");
        assert_eq!(searching.await.expect("no panic").header("x-request-id"), id);
    }
}

#[tokio::test]
async fn trusted_peer_sets_request_id_and_trace() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]).trusting("10.0.0.0/8");
    for (number, peer) in ["10.1.2.3:1", "[::ffff:10.1.2.3]:1"].into_iter().enumerate() {
        let searching = service.get_from(Some(peer), &format!("/search?q={number}"), &HEADERS);
        let arrival = backend.arrival().await;
        assert_eq!(arrival.header("x-request-id"), "theirs-17");
        let traceparent = arrival.header("traceparent");
        assert!(traceparent.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{traceparent}");
        assert!(
            !traceparent.contains("b7ad6b7169203331") && traceparent.ends_with("-01"),
            "a span of its own: {traceparent}"
        );
        assert_eq!(arrival.headers.get("baggage"), None, "backends are told what was allowed, and nothing was");
        arrival.find("it");
        assert_eq!(searching.await.expect("no panic").header("x-request-id"), "theirs-17");
    }
}

#[tokio::test]
async fn untrusted_client_can_shorten_the_deadline() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    for (number, (header, value, left)) in [
        ("x-request-timeout-ms", "3000", "3000"),
        ("grpc-timeout", "4S", "4000"),
        ("connect-timeout-ms", "60000", "5000"),
    ]
    .into_iter()
    .enumerate()
    {
        let searching = service.get_with(&format!("/search?q={number}"), &[(header, value)]);
        let arrival = backend.arrival().await;
        assert_eq!(arrival.header("x-request-timeout-ms"), left, "{header}");
        arrival.find("it");
        assert_eq!(searching.await.expect("no panic").status, StatusCode::OK);
    }
    // The shortest of the three limits counts.
    let searching = service.get_with("/search?q=a&timeout=2s", &[("x-request-timeout-ms", "1500")]);
    assert_eq!(backend.arrival().await.header("x-request-timeout-ms"), "1500");
    searching.abort();
    service.counted("ripcord_http_deadlines_total{kind=\"received\"} 4").await;
    service.counted("ripcord_http_deadlines_total{kind=\"clamped\"} 1").await;
}

#[tokio::test]
async fn request_without_time_left_is_not_started() {
    let backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    let answer = service.get_with("/search?q=a", &[("x-request-timeout-ms", "0")]).await.expect("no panic");
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(!backend.has_arrivals());
    service.counted("ripcord_http_deadlines_total{kind=\"expired\"} 1").await;
}

#[tokio::test]
async fn malformed_deadline_is_counted_and_ignored() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    for value in ["+5", "5s", "", "-1"] {
        let searching = service.get_with(&format!("/search?q={}", value.len()), &[("x-request-timeout-ms", value)]);
        let arrival = backend.arrival().await;
        assert_eq!(arrival.header("x-request-timeout-ms"), "5000", "{value:?}");
        arrival.find("it");
        assert_eq!(searching.await.expect("no panic").status, StatusCode::OK);
        service.time.advance(Duration::from_secs(60));
    }
    service.counted("ripcord_http_malformed_headers_total{header=\"x-request-timeout-ms\"} 4").await;
}

// In real time, some time passes between two hops, and the time left is rounded down.
#[tokio::test]
async fn deadline_shrinks_with_each_hop() {
    let mut last = Backend::start().await;
    let second = TestService::in_real_time(&[&last], |_| {});
    let second = Backend::serve(second.app.clone()).await;
    let first = TestService::in_real_time(&[&second], |_| {});

    let searching = first.get("/search?q=a&timeout=4s");
    let arrival = last.arrival().await;
    let left: u64 = arrival.header("x-request-timeout-ms").parse().expect("milliseconds");
    assert!(left < 3999, "a millisecond less at each of two hops: {left}");
    arrival.find("from afar");
    let json = searching.await.expect("no panic").json();
    assert_eq!(super::service::titles(&json), ["from afar"], "{json:#}");
}

#[tokio::test]
async fn malformed_headers_and_requests_are_in_the_metrics() {
    let backend = Backend::start().await;
    let service = TestService::new(&[&backend]).trusting("10.0.0.0/8");
    let baggage = (0..65).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let (parent, id) = (HEADERS[1].1, "x".repeat(129));
    let cases: [(&str, &[(&str, &str)]); 8] = [
        ("grpc-timeout", &[("grpc-timeout", "+5S")]),
        ("connect-timeout-ms", &[("connect-timeout-ms", "12345678901")]),
        ("x-envoy-expected-rq-timeout-ms", &[("x-envoy-expected-rq-timeout-ms", "-1")]),
        ("x-request-timeout-ms", &[("x-request-timeout-ms", "10"), ("x-request-timeout-ms", "10")]),
        ("x-request-id", &[("x-request-id", &id)]),
        ("traceparent", &[("traceparent", parent), ("traceparent", parent)]),
        ("tracestate", &[("traceparent", parent), ("tracestate", "a=1,A=2")]),
        ("baggage", &[("baggage", &baggage)]),
    ];
    for (header, headers) in cases {
        let answer = service.get_from(Some("10.1.2.3:1"), "/nosuch", headers).await.expect("no panic");
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "it is served as if that were not there");
        service.counted(&format!("ripcord_http_malformed_headers_total{{header=\"{header}\"}} 1")).await;
    }
}
