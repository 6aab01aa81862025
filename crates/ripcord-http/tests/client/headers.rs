//! Tests the headers that a call sends.

use http::{HeaderMap, HeaderValue};
use ripcord_http::RequestId;
use ripcord_http::client::BaggageFilter;
use ripcord_http::deadline::Dialect;
use ripcord_http::trace_context::{Baggage, Traceparent, Tracestate};

use super::*;

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values: Vec<_> = headers.get_all(name).iter().collect();
    assert!(values.len() <= 1, "{name} came {} times", values.len());
    values.first().map(|value| value.to_str().unwrap())
}

fn baggage(text: &'static str) -> Baggage {
    Baggage::decode([&HeaderValue::from_static(text)]).unwrap().unwrap()
}

fn tracestate(text: &'static str) -> Tracestate {
    Tracestate::decode([&HeaderValue::from_static(text)]).unwrap().unwrap()
}

#[test]
fn time_left_is_sent_rounded_down_in_the_chosen_dialect() {
    let (ctx, time) = manual();
    let ctx = ctx.with_timeout(1500 * MILLISECOND);
    time.advance(Duration::from_nanos(400_001));
    for (dialect, header, value) in [
        (Dialect::Plain, "x-request-timeout-ms", "1499"),
        (Dialect::Connect, "connect-timeout-ms", "1499"),
        (Dialect::Envoy, "x-envoy-expected-rq-timeout-ms", "1499"),
        (Dialect::GrpcTimeout, "grpc-timeout", "1499599u"),
    ] {
        let sent = Recorder::sent(ClientLayer::new().dialect(dialect), &ctx, get()).unwrap();
        assert_eq!(only(&sent, header), Some(value));
        assert_eq!(sent.len(), 1, "{sent:?}");
    }
}

#[test]
fn moved_deadline_is_sent_as_it_is_at_the_call() {
    let (ctx, time) = manual();
    let (ctx, deadline) = ctx.with_movable_deadline(ctx.clock().now() + 1500 * MILLISECOND);
    let child = ctx.with_name("a context from before the move");
    let sent = |ctx: &Context| {
        let sent = Recorder::sent(ClientLayer::new(), ctx, get()).unwrap();
        only(&sent, "x-request-timeout-ms").map(str::to_owned)
    };
    assert_eq!(sent(&child).as_deref(), Some("1500"));
    time.advance(1000 * MILLISECOND);
    assert!(deadline.reset_after(9000 * MILLISECOND), "later");
    assert_eq!((sent(&ctx).as_deref(), sent(&child).as_deref()), (Some("9000"), Some("9000")));
    assert!(deadline.reset_after(200 * MILLISECOND), "earlier");
    assert_eq!((sent(&ctx).as_deref(), sent(&child).as_deref()), (Some("200"), Some("200")));
    assert!(deadline.reset_after(Duration::MAX), "none");
    assert_eq!((sent(&ctx), sent(&child)), (None, None));
}

#[test]
fn idle_timeout_sends_no_deadline_and_refuses_no_call() {
    let (ctx, time) = manual();
    let (idle, _) = ctx.with_idle_timeout(1500 * MILLISECOND);
    let (both, _) = ctx.with_timeout(5000 * MILLISECOND).with_idle_timeout(1500 * MILLISECOND);
    // The time left is too short to be sent.
    time.advance(1500 * MILLISECOND - Duration::from_nanos(1));
    let near = ctx.with_timeout(Duration::from_nanos(1));
    assert!(Recorder::sent(ClientLayer::new(), &near, get()).unwrap_err().is_deadline_exceeded());

    let sent = Recorder::sent(ClientLayer::new(), &idle, get()).unwrap();
    assert!(sent.is_empty(), "{sent:?}");
    let sent = Recorder::sent(ClientLayer::new(), &both, get()).unwrap();
    assert_eq!((only(&sent, "x-request-timeout-ms"), sent.len()), (Some("3500"), 1));
    time.advance(Duration::from_nanos(1));
    assert!(Recorder::sent(ClientLayer::new(), &idle, get()).unwrap_err().is_deadline_exceeded());
}

#[test]
fn call_with_an_idle_timeout_of_zero_is_not_sent_and_the_longest_limits_nothing() {
    let (ctx, _time) = manual();
    let error = Recorder::sent(ClientLayer::new().idle_timeout(Duration::ZERO), &ctx, get()).unwrap_err();
    assert!(error.is_deadline_exceeded() && error.is_not_sent(), "{error:#}");
    assert!(Recorder::sent(ClientLayer::new().idle_timeout(Duration::MAX), &ctx, get()).is_ok());
}

#[test]
fn each_dialect_in_the_list_is_sent_unless_it_is_only_read() {
    let (ctx, _time) = manual();
    let ctx = ctx.with_timeout(1500 * MILLISECOND);
    for dialect in Dialect::ALL.iter().copied() {
        let sent = Recorder::sent(ClientLayer::new().dialect(dialect), &ctx, get());
        if dialect.is_absolute() {
            let error = sent.unwrap_err();
            let text = format!(
                r#"Get "http://localhost/slow": the dialect of {} can only be read, choose a relative one"#,
                dialect.name()
            );
            assert_eq!(error.to_string(), text);
            assert!(!error.is_deadline_exceeded() && !error.is_canceled());
        } else {
            let sent = sent.unwrap();
            let value = sent.get(dialect.header()).expect("it is sent").as_bytes();
            assert_eq!(dialect.decode(value, || unreachable!()), Ok(Some(1500 * MILLISECOND)), "{dialect:?}");
        }
    }
}

#[test]
fn context_without_a_deadline_keeps_the_deadline_header_of_the_request() {
    let mut request = get();
    request.headers_mut().insert("grpc-timeout", HeaderValue::from_static("7S"));
    let sent = Recorder::sent(ClientLayer::new(), &Context::background(), request).unwrap();
    assert_eq!(only(&sent, "grpc-timeout"), Some("7S"));
    assert_eq!(sent.len(), 1);
}

#[test]
fn shortest_of_several_deadlines_is_the_only_one_sent() {
    let (ctx, _time) = manual();
    let ctx = ctx.with_timeout(1500 * MILLISECOND);
    let cases: [(&[(&str, &str)], &str); 6] = [
        // Stale headers, copied from an incoming request.
        (&[("x-request-timeout-ms", "5000")], "1500"),
        (&[("x-request-timeout-ms", "5000"), ("x-request-timeout-ms", "9000")], "1500"),
        (&[("grpc-timeout", "1H"), ("connect-timeout-ms", "77777")], "1500"),
        // Headers set for this call.
        (&[("grpc-timeout", "1S")], "1000"),
        (&[("x-request-timeout-ms", "900"), ("x-request-timeout-ms", "800")], "800"),
        // Malformed headers count as absent.
        (&[("x-request-timeout-ms", "1s"), ("grpc-timeout", "+1m")], "1500"),
    ];
    for (headers, expected) in cases {
        let mut request = get();
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        let sent = Recorder::sent(ClientLayer::new(), &ctx, request).unwrap();
        assert_eq!(only(&sent, "x-request-timeout-ms"), Some(expected), "{headers:?}");
        assert_eq!(sent.len(), 1, "{sent:?}");
    }
}

#[test]
fn context_without_values_sends_no_header() {
    let sent = Recorder::sent(ClientLayer::new().baggage(BaggageFilter::all()), &Context::background(), get()).unwrap();
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn request_id_and_a_child_span_are_sent() {
    let id = RequestId::generate();
    let parent = Traceparent::start(true);
    let ctx = Context::background().with_value(id.clone()).with_value(parent).with_value(tracestate("congo=t61"));

    let sent = Recorder::sent(ClientLayer::new(), &ctx, get()).unwrap();
    assert_eq!(only(&sent, "x-request-id"), Some(id.as_str()));
    assert_eq!(only(&sent, "tracestate"), Some("congo=t61"));
    let child: Traceparent = only(&sent, "traceparent").unwrap().parse().unwrap();
    assert_eq!(child.trace_id(), parent.trace_id());
    assert_ne!(child.parent_id(), parent.parent_id());
    assert!(child.is_sampled());

    let again = Recorder::sent(ClientLayer::new(), &ctx, get()).unwrap();
    assert_ne!(only(&again, "traceparent"), only(&sent, "traceparent"), "each call is a span of its own");
}

#[test]
fn contexts_values_replace_the_requests_headers() {
    let mut request = get();
    for name in ["x-request-id", "traceparent", "tracestate", "baggage"] {
        request.headers_mut().append(name, HeaderValue::from_static("stale=1"));
        request.headers_mut().append(name, HeaderValue::from_static("stale=2"));
    }
    // A tracestate belongs to its traceparent, so the stale tracestate is removed without a replacement.
    let ctx = Context::background()
        .with_value(RequestId::generate())
        .with_value(Traceparent::start(false))
        .with_value(baggage("tenant=7"));
    let sent = Recorder::sent(ClientLayer::new().baggage(BaggageFilter::all()), &ctx, request.clone()).unwrap();
    assert_eq!(only(&sent, "tracestate"), None);
    assert_eq!(only(&sent, "baggage"), Some("tenant=7"));
    assert_ne!(only(&sent, "x-request-id"), Some("stale=1"));
    assert!(only(&sent, "traceparent").unwrap().parse::<Traceparent>().is_ok());

    // The context has no values to send, so all headers of the request are kept.
    let sent = Recorder::sent(ClientLayer::new(), &Context::background(), request.clone()).unwrap();
    assert_eq!(sent, *request.headers());
}

#[test]
fn baggage_is_sent_only_if_the_filter_allows_it() {
    let ctx = Context::background().with_value(baggage("tenant=7;p=1, user=am%C3%A9lie ,Tenant=8"));
    for (filter, expected) in [
        (BaggageFilter::default(), None),
        (BaggageFilter::none(), None),
        (BaggageFilter::only(["tenant", "plan"]), Some("tenant=7;p=1")),
        (BaggageFilter::only(["plan"]), None),
        (BaggageFilter::all(), Some("tenant=7;p=1, user=am%C3%A9lie ,Tenant=8")),
    ] {
        let sent = Recorder::sent(ClientLayer::new().baggage(filter.clone()), &ctx, get()).unwrap();
        assert_eq!(only(&sent, "baggage"), expected, "{filter:?}");
    }
}
