//! Tests how the layer reads a request's headers, with each trust policy.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode},
    response::Response,
    routing::get,
};
use ripcord::Context;
use ripcord_http::{
    RequestId, TrustPolicy,
    server::{ContextLayer, Ctx, DeadlineSource, ServerStats},
    trace_context::{Baggage, Link, Traceparent, Tracestate},
};

use crate::common::{SECOND, header, only, request, send, server, text, watched_by};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Returns a request with these headers.
fn with(headers: &[(&'static str, &str)]) -> Request {
    let mut request = request("/");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a header's value"));
    }
    request
}

/// Sends a request with these headers to a handler under `layer`. Returns the answer and the request's context.
async fn exchange(layer: &ContextLayer, headers: &[(&'static str, &str)]) -> (Response, Context) {
    let handler = get(|Ctx(ctx): Ctx| async move { format!("called with {:?}", ctx.remaining()) });
    let (app, seen) = watched_by(Router::new().route("/", handler), layer.clone());
    let response = send(&app, with(headers)).await;
    (response, only(&seen))
}

/// Sends a request with these headers that must not reach the handler. Returns the answer.
async fn refusal(layer: &ContextLayer, headers: &[(&'static str, &str)]) -> Response {
    async fn handler() -> String {
        unreachable!("it is refused")
    }
    let app = Router::new().route("/", get(handler)).layer(layer.clone());
    send(&app, with(headers)).await
}

fn layer() -> ContextLayer {
    ContextLayer::new(&server())
}

fn trusting() -> ContextLayer {
    layer().trust(TrustPolicy::trusted())
}

fn malformed(stats: &ServerStats, header: &str) -> u64 {
    stats.malformed().find(|(name, _)| *name == header).expect("a header that is read").1
}

// ===== Deadlines =====

#[tokio::test(start_paused = true)]
async fn every_dialect_sets_the_deadline() {
    for (name, value, left) in [
        ("grpc-timeout", "250m", Duration::from_millis(250)),
        ("grpc-timeout", "2S", 2 * SECOND),
        ("connect-timeout-ms", "1500", Duration::from_millis(1500)),
        ("x-request-timeout-ms", "70", Duration::from_millis(70)),
    ] {
        let layer = layer().timeout(5 * SECOND);
        let (_, ctx) = exchange(&layer, &[(name, value)]).await;
        assert_eq!(ctx.remaining(), Some(left), "{name}: {value}");
        assert_eq!(DeadlineSource::from_context(&ctx), DeadlineSource::Header(name));
        assert_eq!((layer.stats().deadlines_received, layer.stats().deadlines_clamped), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn envoys_deadline_is_read_from_a_trusted_proxy_only() {
    let header = ("x-envoy-expected-rq-timeout-ms", "700");
    let (_, ctx) = exchange(&trusting(), &[header]).await;
    assert_eq!(ctx.remaining(), Some(Duration::from_millis(700)));

    let (_, ctx) = exchange(&layer(), &[header]).await;
    assert_eq!((ctx.remaining(), DeadlineSource::from_context(&ctx)), (None, DeadlineSource::None));
}

#[tokio::test(start_paused = true)]
async fn absolute_deadlines_are_read_only_on_request() {
    // These times are on the system's clock, which is independent of the test's clock.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let (now, in_an_hour) = (now.as_nanos(), (now + 3600 * SECOND).as_nanos());
    let finagle = ("finagle-ctx-com.twitter.finagle.deadline", &*format!("{now} {in_an_hour}"));
    let (_, ctx) = exchange(&layer(), &[finagle]).await;
    assert_eq!(ctx.remaining(), None, "unless asked to");

    let asked = || layer().absolute_deadlines(true);
    let (_, ctx) = exchange(&asked(), &[finagle]).await;
    let left = ctx.remaining().expect("there is a deadline");
    assert!(left <= 3600 * SECOND && left > 3000 * SECOND, "{left:?}");
    assert_eq!(DeadlineSource::from_context(&ctx), DeadlineSource::Header(finagle.0));
    let (_, ctx) = exchange(&asked().timeout(5 * SECOND), &[finagle]).await;
    assert_eq!(
        (ctx.remaining(), DeadlineSource::from_context(&ctx)),
        (Some(5 * SECOND), DeadlineSource::Clamped(finagle.0))
    );

    // The latest possible time, no time, and a time in the past.
    let (_, ctx) = exchange(&asked(), &[("amz-sdk-request", "ttl=99991231T235959Z; attempt=1; max=3")]).await;
    assert_eq!(DeadlineSource::from_context(&ctx), DeadlineSource::Header("amz-sdk-request"));
    let (_, ctx) = exchange(&asked(), &[("amz-sdk-request", "attempt=1; max=3")]).await;
    assert_eq!(DeadlineSource::from_context(&ctx), DeadlineSource::None);
    let layer = asked();
    let response = refusal(&layer, &[("amz-sdk-request", "ttl=20200724T181920Z; attempt=2; max=3")]).await;
    assert_eq!((response.status(), layer.stats().expired), (StatusCode::GATEWAY_TIMEOUT, 1));

    for (name, value) in [(finagle.0, "soon"), ("amz-sdk-request", "ttl=soon")] {
        let layer = asked();
        let (_, ctx) = exchange(&layer, &[(name, value)]).await;
        assert_eq!((ctx.remaining(), malformed(&layer.stats(), name)), (None, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn earliest_of_several_deadlines_wins() {
    let headers = [("grpc-timeout", "3S"), ("connect-timeout-ms", "1000"), ("x-request-timeout-ms", "2000")];
    let (_, ctx) = exchange(&layer(), &headers).await;
    assert_eq!(ctx.remaining(), Some(SECOND));
    assert_eq!(DeadlineSource::from_context(&ctx), DeadlineSource::Header("connect-timeout-ms"));
}

#[tokio::test(start_paused = true)]
async fn deadline_of_a_client_never_exceeds_the_servers() {
    let max = TrustPolicy::untrusted().with_max_timeout(3 * SECOND);
    let short = ContextLayer::new(&server().with_timeout(3 * SECOND));
    for layer in [layer().trust(max), layer().timeout(3 * SECOND), layer().trust(max).timeout(9 * SECOND), short] {
        for value in ["4S", "99999999H"] {
            let before = layer.stats();
            let (_, ctx) = exchange(&layer, &[("grpc-timeout", value)]).await;
            assert_eq!(ctx.remaining(), Some(3 * SECOND));
            assert_eq!(DeadlineSource::from_context(&ctx), DeadlineSource::Clamped("grpc-timeout"));
            assert_eq!(layer.stats().deadlines_clamped, before.deadlines_clamped + 1);
        }
        let (_, ctx) = exchange(&layer, &[("grpc-timeout", "3S")]).await;
        assert_eq!((ctx.remaining(), layer.stats().deadlines_clamped), (Some(3 * SECOND), 2), "as much is not more");

        let (_, ctx) = exchange(&layer, &[]).await;
        assert_eq!((ctx.remaining(), DeadlineSource::from_context(&ctx)), (Some(3 * SECOND), DeadlineSource::Local));
        assert_eq!(layer.stats().deadlines_received, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn huge_deadline_saturates() {
    for header in ["connect-timeout-ms", "x-request-timeout-ms"] {
        let (response, _) = exchange(&layer(), &[(header, "9999999999")]).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    let digits = "9".repeat(10_000);
    let (response, ctx) = exchange(&layer(), &[("x-request-timeout-ms", &digits)]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(ctx.remaining(), None, "so far away that it is none");
}

#[tokio::test(start_paused = true)]
async fn expired_deadline_is_504_without_a_call() {
    for headers in [[("grpc-timeout", "0n")], [("connect-timeout-ms", "0")], [("x-request-timeout-ms", "00")]] {
        let layer = layer().timeout(5 * SECOND);
        let response = refusal(&layer, &headers).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(text(response).await, "Request timed out");
        let stats = layer.stats();
        assert_eq!((stats.requests, stats.in_flight, stats.expired, stats.timed_out), (1, 0, 1, 1));
        assert_eq!((stats.deadlines_received, stats.deadlines_clamped), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn deadline_of_a_header_names_the_header() {
    let (_, ctx) = exchange(&layer(), &[("grpc-timeout", "1S")]).await;
    let handler = get(|Ctx(ctx): Ctx| async move { format!("{:#}", ctx.done().await) });
    let (app, _) = watched_by(Router::new().route("/", handler), layer());
    let told = text(send(&app, with(&[("grpc-timeout", "1S")])).await).await;

    assert!(told.contains("the client's grpc-timeout") && told.contains("1s"), "{told}");
    drop(ctx);
}

// ===== Malformed =====

/// The headers that are read from a trusted peer.
const READ: [&str; 8] = [
    "grpc-timeout",
    "connect-timeout-ms",
    "x-envoy-expected-rq-timeout-ms",
    "x-request-timeout-ms",
    "x-request-id",
    "traceparent",
    "tracestate",
    "baggage",
];

/// Headers that violate their grammar.
const MALFORMED: [(&str, &str); 15] = [
    ("grpc-timeout", ""),
    ("grpc-timeout", "+5S"),
    ("grpc-timeout", "5s"),
    ("grpc-timeout", "5 S"),
    ("grpc-timeout", "5"),
    ("grpc-timeout", "S"),
    ("grpc-timeout", "999999999S"),
    ("grpc-timeout", "-1S"),
    ("connect-timeout-ms", "12345678901"),
    ("connect-timeout-ms", "1.5"),
    ("x-request-timeout-ms", "0x10"),
    ("x-request-timeout-ms", "1_000"),
    ("traceparent", "00-42-b7-01"),
    ("traceparent", "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"),
    ("traceparent", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
];

/// Headers that are not read from an untrusted client.
const MALFORMED_IF_TRUSTED: [(&str, &str); 5] = [
    ("x-envoy-expected-rq-timeout-ms", "soon"),
    ("x-request-id", "a b"),
    ("x-request-id", ""),
    ("baggage", "novalue"),
    ("baggage", "k=\"v\""),
];

#[tokio::test(start_paused = true)]
async fn malformed_header_is_absent_and_counted() {
    for (name, value) in MALFORMED.into_iter().chain(MALFORMED_IF_TRUSTED) {
        let layer = trusting().timeout(5 * SECOND);
        let (response, ctx) = exchange(&layer, &[(name, value)]).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}: {value}");
        assert_eq!((ctx.remaining(), DeadlineSource::from_context(&ctx)), (Some(5 * SECOND), DeadlineSource::Local));
        assert!(ctx.value::<Baggage>().is_none() && ctx.value::<Link>().is_none());

        let stats = layer.stats();
        assert_eq!(malformed(&stats, name), 1, "{name}: {value}");
        assert_eq!(stats.malformed().map(|(_, count)| count).sum::<u64>(), 1);
        assert_eq!(stats.deadlines_received, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn strict_layer_answers_a_malformed_header_with_400() {
    for (name, value) in MALFORMED.into_iter().chain(MALFORMED_IF_TRUSTED) {
        let layer = trusting().strict(true);
        let response = refusal(&layer, &[(name, value)]).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(header(&response, "content-type"), "text/plain; charset=utf-8");
        assert_eq!(header(&response, "x-request-id").len(), 32);
        let said = text(response).await;
        assert!(said.starts_with(&format!("malformed {name}: ")), "{said}");
        let stats = layer.stats();
        assert_eq!((malformed(&stats, name), stats.refused, stats.in_flight), (1, 1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn untrusted_header_is_never_malformed() {
    for (name, value) in MALFORMED_IF_TRUSTED {
        let layer = layer().strict(true);
        let (response, _) = exchange(&layer, &[(name, value)]).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}: {value}");
        assert_eq!(layer.stats().malformed().map(|(_, count)| count).sum::<u64>(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_header_is_malformed() {
    for (name, value) in [
        ("grpc-timeout", "1S"),
        ("connect-timeout-ms", "1000"),
        ("x-envoy-expected-rq-timeout-ms", "1000"),
        ("x-request-timeout-ms", "1000"),
        ("x-request-id", "req-17"),
        ("traceparent", TRACEPARENT),
    ] {
        let layer = trusting();
        let (response, ctx) = exchange(&layer, &[(name, value), (name, value), (name, value)]).await;
        assert_eq!(ctx.remaining(), None, "{name}");
        assert_ne!(header(&response, "x-request-id"), "req-17");
        assert_eq!(malformed(&layer.stats(), name), 1);

        let response = refusal(&trusting().strict(true), &[(name, value), (name, value)]).await;
        assert_eq!(text(response).await, format!("malformed {name}: comes more than once"));
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_deadline_does_not_hide_another_header() {
    let headers = [("grpc-timeout", "soon"), ("connect-timeout-ms", "1000")];
    let (_, ctx) = exchange(&layer(), &headers).await;
    assert_eq!(ctx.remaining(), Some(SECOND));
}

#[tokio::test(start_paused = true)]
async fn oversized_headers_are_bounded() {
    let id = "a".repeat(129);
    let state: Vec<_> = (0..33).map(|n| format!("k{n}=v")).collect();
    let baggage: Vec<_> = (0..100).map(|n| format!("k{n}={}", "v".repeat(200))).collect();
    let layer = trusting();
    let headers = [
        ("x-request-id", id.as_str()),
        ("traceparent", TRACEPARENT),
        ("tracestate", &state.join(",")),
        ("baggage", &baggage.join(",")),
    ];
    let (response, ctx) = exchange(&layer, &headers).await;

    assert_eq!(header(&response, "x-request-id").len(), 32, "a new ID");
    assert!(ctx.value::<Tracestate>().is_none(), "all or nothing");
    let carried = ctx.value::<Baggage>().expect("the allowed part");
    assert!(carried.is_cut() && carried.to_header().len() <= Baggage::BYTES);
    let stats = layer.stats();
    assert_eq!((malformed(&stats, "x-request-id"), malformed(&stats, "tracestate")), (1, 1));
    assert_eq!(malformed(&stats, "baggage"), 1, "counted, although the allowed part is carried");
}

#[tokio::test(start_paused = true)]
async fn baggage_beyond_its_limits_is_counted() {
    let members = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    let bytes = |count: usize| format!("k={}", "v".repeat(count - 2));
    for (value, is_carried, reason) in [
        (members(64), true, None),
        (members(65), true, Some("more than 64 members or 8192 bytes")),
        (bytes(8192), true, None),
        (format!("first=1,{}", bytes(8192)), true, Some("more than 64 members or 8192 bytes")),
        (bytes(8193), false, Some("the first member is larger than 8192 bytes")),
    ] {
        let layer = trusting();
        let (response, ctx) = exchange(&layer, &[("baggage", &value)]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(ctx.value::<Baggage>().is_some(), is_carried, "{} bytes", value.len());
        assert_eq!(malformed(&layer.stats(), "baggage"), u64::from(reason.is_some()), "{} bytes", value.len());
        if let Some(reason) = reason {
            let response = refusal(&trusting().strict(true), &[("baggage", &value)]).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST);
            assert_eq!(text(response).await, format!("malformed baggage: {reason}"));
        }
    }
    // The limit applies to all baggage headers together.
    let layer = trusting();
    let (_, ctx) = exchange(&layer, &[("baggage", &members(64)), ("baggage", "one=more")]).await;
    assert_eq!(ctx.value::<Baggage>().expect("it is carried").members().count(), 64);
    assert_eq!(malformed(&layer.stats(), "baggage"), 1);
}

#[tokio::test(start_paused = true)]
async fn malformed_tracestate_leaves_its_traceparent() {
    let parent = ("traceparent", TRACEPARENT);
    for states in [
        &[("tracestate", "A=1")][..],
        &[("tracestate", "a=1,A=2")],
        &[("tracestate", "a=1"), ("tracestate", "@a=2")],
        &[("tracestate", "=")],
    ] {
        let headers: Vec<_> = [parent].into_iter().chain(states.iter().copied()).collect();
        let layer = trusting();
        let (_, ctx) = exchange(&layer, &headers).await;
        let ours = ctx.value::<Traceparent>().expect("a span of its own");
        assert_eq!(ours.trace_id(), TRACEPARENT.parse::<Traceparent>().expect("well-formed").trace_id());
        assert!(ctx.value::<Tracestate>().is_none(), "{states:?}");
        assert_eq!(malformed(&layer.stats(), "tracestate"), 1);

        let response = refusal(&trusting().strict(true), &headers).await;
        assert!(text(response).await.starts_with("malformed tracestate: "), "{states:?}");
    }
}

// HTTP allows header values that are not text.
#[tokio::test(start_paused = true)]
async fn hostile_bytes_are_malformed() {
    let hostile: [&[u8]; 5] = [b"\xff\xfe", b"5S\xff", b"\t\t", b"%00%0d%0a", "٥S".as_bytes()];
    for name in READ {
        for value in hostile {
            let mut request = with(&[("traceparent", TRACEPARENT)]);
            request.headers_mut().insert(name, HeaderValue::from_bytes(value).expect("HTTP lets it through"));
            let layer = trusting();
            let (app, seen) = watched_by(Router::new().route("/", get(|| async { "called" })), layer.clone());
            let response = send(&app, request).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, "x-request-id").len(), 32, "a new ID");
            assert!(only(&seen).value::<Baggage>().is_none() && only(&seen).value::<Tracestate>().is_none());
            // A list that contains only blanks is empty and well-formed.
            let is_empty_list = value == b"\t\t" && ["tracestate", "baggage"].contains(&name);
            assert_eq!(malformed(&layer.stats(), name), u64::from(!is_empty_list), "{name}: {value:?}");
        }
    }
}

// ===== Identity, trace, values =====

#[tokio::test(start_paused = true)]
async fn trusted_request_id_is_kept_and_echoed() {
    let (response, ctx) = exchange(&trusting(), &[("x-request-id", "req-17")]).await;
    assert_eq!(header(&response, "x-request-id"), "req-17");
    assert_eq!(ctx.value::<RequestId>().expect("an id").as_str(), "req-17");
}

#[tokio::test(start_paused = true)]
async fn untrusted_request_id_is_replaced() {
    let (response, ctx) = exchange(&layer(), &[("x-request-id", "req-17")]).await;
    let id = header(&response, "x-request-id");
    assert_eq!(ctx.value::<RequestId>().expect("an id").as_str(), id);
    assert_ne!(id, "req-17");
}

#[tokio::test(start_paused = true)]
async fn trusted_trace_continues() {
    let theirs: Traceparent = TRACEPARENT.parse().expect("well-formed");
    let headers = [
        ("traceparent", TRACEPARENT),
        ("tracestate", "congo=t61rcWkgMzE"),
        ("tracestate", "rojo=00f067aa0ba902b7"),
        ("baggage", "tenant=acme"),
        ("baggage", "user=7"),
    ];
    let (_, ctx) = exchange(&trusting(), &headers).await;

    let ours = ctx.value::<Traceparent>().expect("a span of its own");
    assert_eq!((ours.trace_id(), ours.is_sampled()), (theirs.trace_id(), true));
    assert_ne!(ours.parent_id(), theirs.parent_id());
    assert!(ctx.value::<Link>().is_none());
    assert_eq!(ctx.value::<Tracestate>().expect("it travels").get("rojo"), Some("00f067aa0ba902b7"));
    let baggage = ctx.value::<Baggage>().expect("it travels");
    assert_eq!((baggage.get("tenant").as_deref(), baggage.get("user").as_deref()), (Some("acme"), Some("7")));
}

#[tokio::test(start_paused = true)]
async fn untrusted_trace_is_linked() {
    let theirs: Traceparent = TRACEPARENT.parse().expect("well-formed");
    let headers = [("traceparent", TRACEPARENT), ("tracestate", "congo=t61rcWkgMzE"), ("baggage", "tenant=acme")];
    let (_, ctx) = exchange(&layer(), &headers).await;

    let ours = ctx.value::<Traceparent>().expect("a trace of its own");
    assert_ne!(ours.trace_id(), theirs.trace_id());
    assert_eq!(ctx.value::<Link>(), Some(&Link(theirs)));
    assert!(ctx.value::<Tracestate>().is_none() && ctx.value::<Baggage>().is_none());
}

#[tokio::test(start_paused = true)]
async fn tracestate_is_replaced_or_removed_with_its_traceparent() {
    for traceparent in [None, Some(("traceparent", "00-42-b7-01"))] {
        let headers: Vec<_> = [("tracestate", "congo=t61rcWkgMzE")].into_iter().chain(traceparent).collect();
        let (_, ctx) = exchange(&trusting(), &headers).await;
        assert!(ctx.value::<Tracestate>().is_none());
        assert!(ctx.value::<Traceparent>().is_some(), "a trace begins");
    }
}
