//! No codec allocates where a request is as most are: well-formed, and each header there once.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use ripcord_http::RequestId;
use ripcord_http::deadline::{connect, envoy, grpc_timeout, plain};
use ripcord_http::trace_context::{Baggage, Traceparent, Tracestate};

/// A value as a server has it: a part of what was read, which is shared.
fn received(text: &'static str) -> HeaderValue {
    let read = Bytes::from(format!("name: {text}\r\n"));
    // By the first of its clones the bytes become shared ones.
    drop(read.clone());
    HeaderValue::from_maybe_shared(read.slice(6..6 + text.len())).expect("a header's value")
}

#[track_caller]
fn assert_allocates_nothing<T>(what: impl FnOnce() -> T) {
    let mut result = None;
    let counted = allocation_counter::measure(|| result = Some(black_box(what())));
    assert_eq!(counted.count_total, 0);
    drop(result);
}

#[test]
fn what_is_read_is_not_copied() {
    let (timeout, milliseconds) = (received("250m"), received("1500"));
    assert_allocates_nothing(|| grpc_timeout::decode(timeout.as_bytes()).unwrap());
    for decode in [connect::decode, envoy::decode, plain::decode] {
        assert_allocates_nothing(|| decode(milliseconds.as_bytes()).unwrap());
    }
    let id = received("0b0e7f52-6d3c-4f0e-9d6a-6f1f6c6c7f55");
    assert_allocates_nothing(|| RequestId::decode(&id).unwrap());
    let parent = received("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_allocates_nothing(|| Traceparent::decode(parent.as_bytes()).unwrap());
    let state = received("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
    assert_allocates_nothing(|| Tracestate::decode([&state]).unwrap());
    let baggage = received("tenant=acme,user=7;ttl=3");
    assert_allocates_nothing(|| Baggage::decode([&baggage]).unwrap());
    // What is malformed is no more work.
    assert_allocates_nothing(|| grpc_timeout::decode(b"+5S").unwrap_err());
    assert_allocates_nothing(|| Baggage::decode([&timeout]).unwrap_err());
}

#[test]
fn what_was_read_is_looked_at_without_a_copy() {
    let state = Tracestate::decode([&received("congo=t61,rojo=1")]).unwrap().unwrap();
    assert_allocates_nothing(|| state.get("rojo").map(str::len));
    assert_allocates_nothing(|| state.to_header());
    let baggage = Baggage::decode([&received("tenant=acme,user=7")]).unwrap().unwrap();
    assert_allocates_nothing(|| baggage.members().map(|(key, value)| key.len() + value.len()).sum::<usize>());
    assert_allocates_nothing(|| baggage.to_header());
    let id = RequestId::decode(&received("req-17")).unwrap();
    assert_allocates_nothing(|| (id.to_header(), id.as_str().len()));
}

#[test]
fn what_is_written_needs_no_heap() {
    let left = Duration::from_millis(1500);
    for encode in [grpc_timeout::encode, connect::encode, envoy::encode, plain::encode] {
        assert_allocates_nothing(|| encode(left).unwrap());
    }
    let parent = Traceparent::start(true);
    assert_allocates_nothing(|| parent.child().encode());
}
