//! Counts allocations. No codec allocates for a well-formed request with each header once. Only the few finished requests that the
//! inspector keeps use memory.

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use ripcord::{Clock, Context};
use ripcord_http::RequestId;
use ripcord_http::deadline::{connect, envoy, grpc_timeout, plain};
use ripcord_http::inspector::Inspector;
use ripcord_http::server::{ContextLayer, ContextService};
use ripcord_http::trace_context::{Baggage, Traceparent, Tracestate};
use tower::{Layer as _, Service, service_fn};

/// Returns a header's value as in a server: a shared part of the received bytes.
fn received(text: &'static str) -> HeaderValue {
    let read = Bytes::from(format!("name: {text}\r\n"));
    // The first clone makes the bytes shared, which allocates.
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
fn reading_headers_copies_nothing() {
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
    // A malformed value also allocates nothing.
    assert_allocates_nothing(|| grpc_timeout::decode(b"+5S").unwrap_err());
    assert_allocates_nothing(|| Baggage::decode([&timeout]).unwrap_err());
}

#[test]
fn parsed_headers_are_read_without_a_copy() {
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
fn writing_headers_allocates_nothing() {
    let left = Duration::from_millis(1500);
    for encode in [grpc_timeout::encode, connect::encode, envoy::encode, plain::encode] {
        assert_allocates_nothing(|| encode(left).unwrap());
    }
    let parent = Traceparent::start(true);
    assert_allocates_nothing(|| parent.child().encode());
}

/// Sends a request to the service and reads the response.
async fn answer(
    service: &mut ContextService<impl Service<Request<String>, Response = Response<Full<Bytes>>, Error = Infallible>>,
) {
    let response = service.call(Request::new(String::new())).await.unwrap();
    response.into_body().collect().await.unwrap();
}

#[test]
fn memory_of_finished_requests_is_bounded() {
    let (clock, time) = Clock::manual();
    let inspector = Inspector::new();
    let layer = ContextLayer::new(&Context::background().with_clock(clock)).inspector(&inspector);
    let advance = time.clone();
    let mut count = 0;
    let mut service = layer.layer(service_fn(move |request: Request<String>| {
        let ctx = request.extensions().get::<Context>().expect("the layer gave one").clone();
        let (_, _call) = ctx.start_span("query");
        // The requests fill the latency buckets in turn.
        advance.advance([0, 2, 20, 70, 200, 300, 700, 2000, 6000].map(Duration::from_millis)[count % 9]);
        count += 1;
        let mut response = Response::new(Full::from(Bytes::from_static(b"done")));
        if count % 5 == 0 {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        ready(Ok::<_, Infallible>(response))
    }));
    let mut answer = |times: usize| {
        for _ in 0..times {
            answer(&mut service).now_or_never().expect("nothing waits");
        }
    };
    // After these requests, every ring of kept requests is full.
    answer(1000);
    let counted = allocation_counter::measure(|| answer(9000));
    assert!(counted.count_total > 9000, "they were not measured: {counted:?}");
    // The pattern repeats every 45 requests, so the kept requests use the same memory before and after.
    assert!(counted.bytes_current.abs() < 1024, "{counted:?}");
}

#[test]
fn request_under_the_inspector_allocates_nothing_more() {
    let server = Context::background();
    let allocations = |layer: ContextLayer| {
        let ready_at_once = |_: Request<String>| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
        let mut service = layer.layer(service_fn(ready_at_once));
        // The inspector keeps the first requests after their end.
        for _ in 0..100 {
            answer(&mut service).now_or_never().expect("nothing waits");
        }
        allocation_counter::measure(|| answer(&mut service).now_or_never().expect("nothing waits")).count_total
    };
    // The clock stands still, so that all these requests are quick and no later request is kept.
    let (clock, _time) = Clock::manual();
    let layer = ContextLayer::new(&server.with_clock(clock)).timeout(Duration::from_secs(5));
    let without = allocations(layer.clone());
    assert!(without > 0);
    assert_eq!(allocations(layer.inspector(&Inspector::new())), without);
}
