//! Ports the W3C test harness for Trace Context, level 2.
//!
//! The harness (`test/test.py` in <https://github.com/w3c/trace-context>) sends a request to a service, asks the service to call
//! back, and checks the headers of the calls. Each test here has the name and the cases of a harness test. The request is sent as
//! bytes through hyper, because the harness also tests header names and whitespace.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ripcord::Context;
use ripcord_http::TrustPolicy;
use ripcord_http::client::{ClientLayer, RequestExt};
use ripcord_http::server::ContextLayer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceBuilder, service_fn};

const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "00-12345678901234567890123456789012-1234567890123456-01";
/// The parent in the harness's tests of `tracestate`.
const UNSAMPLED: (&str, &str) = ("traceparent", "00-12345678901234567890123456789012-1234567890123456-00");

/// The client of the service under test: records the headers of each call.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<HeaderMap>>>);

impl Service<Request<()>> for Recorder {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.0.lock().unwrap().push(request.headers().clone());
        ready(Ok(Response::new(Empty::new())))
    }
}

/// The trace headers of one call.
struct Sent {
    trace_id: String,
    parent_id: String,
    flags: u8,
    tracestate: Vec<(String, String)>,
}

impl Sent {
    /// Reads the headers according to the rules of the harness: exactly one traceparent, of version 00.
    fn read(headers: &HeaderMap) -> Self {
        let parents: Vec<_> = headers.get_all("traceparent").iter().collect();
        assert_eq!(parents.len(), 1, "{headers:?}");
        let parent = parents[0].to_str().unwrap();
        let fields: Vec<_> = parent.split('-').collect();
        assert_eq!(fields.iter().map(|field| field.len()).collect::<Vec<_>>(), [2, 32, 16, 2], "{parent}");
        assert!(fields.concat().chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{parent}");
        assert_eq!(fields[0], "00");
        assert!(fields[1].contains(|c| c != '0') && fields[2].contains(|c| c != '0'), "{parent}");
        let states = headers.get_all("tracestate").iter().map(|state| state.to_str().unwrap());
        let members = states.flat_map(|state| state.split(',')).map(|member| member.trim_matches([' ', '\t']));
        let pair = |member: &str| {
            let (key, value) = member.split_once('=').expect("a member has a key and a value");
            (key.to_owned(), value.to_owned())
        };
        Sent {
            trace_id: fields[1].to_owned(),
            parent_id: fields[2].to_owned(),
            flags: u8::from_str_radix(fields[3], 16).unwrap(),
            tracestate: members.filter(|member| !member.is_empty()).map(pair).collect(),
        }
    }

    fn state(&self, key: &str) -> Option<&str> {
        self.tracestate.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// Sends a request with these headers to the service, which makes `count` calls.
fn calls(headers: &[(&str, &str)], count: usize) -> Vec<Sent> {
    let recorder = Recorder::default();
    let client = ClientLayer::new().layer(recorder.clone());
    let handler = service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut client = client.clone();
        async move {
            let ctx = request.extensions().get::<Context>().expect("the layer sets it").clone();
            for _ in 0..count {
                let call = Request::post("http://harness/callback").body(()).unwrap().with_context(&ctx);
                client.call(call).await.expect("the recorder answers");
            }
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let layer = ContextLayer::new(&Context::background()).trust(TrustPolicy::trusted());
    let service = ServiceBuilder::new().layer(layer).service(handler);

    let mut request = b"POST /test HTTP/1.1\r\nhost: service\r\nconnection: close\r\n".to_vec();
    for (name, value) in headers {
        request.extend_from_slice(format!("{name}:{value}\r\n").as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut harness, socket) = tokio::io::duplex(16_384);
        let serve = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
        let exchange = async {
            harness.write_all(&request).await.unwrap();
            let mut answer = Vec::new();
            harness.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        };
        let (served, ()) = tokio::join!(serve, exchange);
        served.unwrap();
    });
    let sent = recorder.0.lock().unwrap();
    assert_eq!(sent.len(), count);
    sent.iter().map(Sent::read).collect()
}

fn call(headers: &[(&str, &str)]) -> Sent {
    calls(headers, 1).remove(0)
}

/// Asserts that a request with each of these values starts a new trace.
fn restarts(traceparents: &[&str]) {
    for traceparent in traceparents {
        let sent = call(&[("traceparent", traceparent)]);
        assert_ne!(sent.trace_id, TRACE, "{traceparent}");
        assert!(!traceparent.contains(&sent.trace_id), "{traceparent}");
    }
}

/// Sends a request with these `tracestate` headers.
fn state(headers: &[&str]) -> Sent {
    let headers: Vec<_> =
        std::iter::once(UNSAMPLED).chain(headers.iter().map(|state| ("tracestate", *state))).collect();
    let sent = call(&headers);
    assert_eq!(sent.trace_id, TRACE, "a bad tracestate does not end the trace");
    sent
}

fn keeps(headers: &[&str], expected: &[(&str, &str)]) {
    let sent = state(headers);
    for (key, value) in expected {
        assert_eq!(sent.state(key), Some(*value), "{headers:?}");
    }
}

fn discards(headers: &[&str]) {
    assert_eq!(state(headers).tracestate, [], "{headers:?}");
}

// ===== TraceContextTest =====

#[test]
fn both_traceparent_and_tracestate_missing() {
    assert_eq!(call(&[]).tracestate, []);
}

#[test]
fn traceparent_included_tracestate_missing() {
    let sent = call(&[("traceparent", PARENT)]);
    assert_eq!(sent.trace_id, TRACE);
    assert_ne!(sent.parent_id, "1234567890123456");
}

#[test]
fn traceparent_duplicated() {
    let other = "00-12345678901234567890123456789011-1234567890123456-01";
    let sent = call(&[("traceparent", other), ("traceparent", PARENT)]);
    assert_ne!(sent.trace_id, "12345678901234567890123456789011");
    assert_ne!(sent.trace_id, TRACE);
}

#[test]
fn traceparent_header_name() {
    for name in ["trace-parent", "trace.parent"] {
        assert_ne!(call(&[(name, PARENT)]).trace_id, TRACE, "{name}");
    }
}

#[test]
fn traceparent_header_name_valid_casing() {
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        assert_eq!(call(&[(name, PARENT)]).trace_id, TRACE, "{name}");
    }
}

#[test]
fn traceparent_version_0x00() {
    restarts(&[&format!("{PARENT}."), &format!("{PARENT}-what-the-future-will-be-like")]);
}

#[test]
fn traceparent_version_0xcc() {
    let future = PARENT.replacen("00", "cc", 1);
    for value in [future.clone(), format!("{future}-what-the-future-will-be-like")] {
        assert_eq!(call(&[("traceparent", &value)]).trace_id, TRACE, "{value}");
    }
    restarts(&[&format!("{future}.what-the-future-will-be-like")]);
}

#[test]
fn traceparent_version_0xff() {
    restarts(&[&PARENT.replacen("00", "ff", 1)]);
}

#[test]
fn traceparent_version_illegal_characters() {
    restarts(&[&PARENT.replacen("00", ".0", 1), &PARENT.replacen("00", "0.", 1)]);
}

#[test]
fn traceparent_version_too_long() {
    restarts(&[&PARENT.replacen("00", "000", 1), &PARENT.replacen("00", "0000", 1)]);
}

#[test]
fn traceparent_version_too_short() {
    restarts(&[&PARENT[1..]]);
}

#[test]
fn traceparent_trace_id_all_zero() {
    restarts(&["00-00000000000000000000000000000000-1234567890123456-01"]);
}

#[test]
fn traceparent_trace_id_illegal_characters() {
    restarts(&[
        "00-.2345678901234567890123456789012-1234567890123456-01",
        "00-1234567890123456789012345678901.-1234567890123456-01",
    ]);
}

#[test]
fn traceparent_trace_id_too_long() {
    let value = "00-123456789012345678901234567890123-1234567890123456-01";
    restarts(&[value]);
}

#[test]
fn traceparent_trace_id_too_short() {
    restarts(&["00-1234567890123456789012345678901-1234567890123456-01"]);
}

#[test]
fn traceparent_parent_id_all_zero() {
    restarts(&["00-12345678901234567890123456789012-0000000000000000-01"]);
}

#[test]
fn traceparent_parent_id_illegal_characters() {
    restarts(&[
        "00-12345678901234567890123456789012-.234567890123456-01",
        "00-12345678901234567890123456789012-123456789012345.-01",
    ]);
}

#[test]
fn traceparent_parent_id_too_long() {
    restarts(&["00-12345678901234567890123456789012-12345678901234567-01"]);
}

#[test]
fn traceparent_parent_id_too_short() {
    restarts(&["00-12345678901234567890123456789012-123456789012345-01"]);
}

#[test]
fn traceparent_trace_flags_illegal_characters() {
    restarts(&[
        "00-12345678901234567890123456789012-1234567890123456-.0",
        "00-12345678901234567890123456789012-1234567890123456-0.",
    ]);
}

#[test]
fn traceparent_trace_flags_too_long() {
    restarts(&["00-12345678901234567890123456789012-1234567890123456-001"]);
}

#[test]
fn traceparent_trace_flags_too_short() {
    restarts(&["00-12345678901234567890123456789012-1234567890123456-1"]);
}

#[test]
fn traceparent_ows_handling() {
    for (before, after) in [(" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t")] {
        let value = format!("{before}{PARENT}{after}");
        assert_eq!(call(&[("traceparent", &value)]).trace_id, TRACE, "{value:?}");
    }
}

#[test]
fn tracestate_included_traceparent_missing() {
    for value in ["foo=1", "foo=1,bar=2"] {
        assert_eq!(call(&[("tracestate", value)]).tracestate, [], "{value}");
    }
}

#[test]
fn tracestate_included_traceparent_included() {
    keeps(&["foo=1,bar=2"], &[("foo", "1"), ("bar", "2")]);
}

#[test]
fn tracestate_header_name() {
    for name in ["trace-state", "trace.state"] {
        assert_eq!(call(&[UNSAMPLED, (name, "foo=1")]).state("foo"), None, "{name}");
    }
}

#[test]
fn tracestate_header_name_valid_casing() {
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        assert_eq!(call(&[UNSAMPLED, (name, "foo=1")]).state("foo"), Some("1"), "{name}");
    }
}

#[test]
fn tracestate_empty_header() {
    discards(&[""]);
    keeps(&["foo=1", ""], &[("foo", "1")]);
    keeps(&["", "foo=1"], &[("foo", "1")]);
}

#[test]
fn tracestate_multiple_headers_different_keys() {
    let sent = state(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"]);
    let keys: Vec<_> = sent.tracestate.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["foo", "bar", "rojo", "congo", "baz"]);
    keeps(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], &[("bar", "2"), ("congo", "2"), ("baz", "3")]);
}

/// The duplicates are kept or reduced to one. Unlike the harness, this test has a member of another vendor in the list.
#[test]
fn tracestate_duplicated_keys() {
    keeps(&["foo=1,foo=1"], &[("foo", "1")]);
    keeps(&["foo=1", "foo=1"], &[("foo", "1")]);
    keeps(&["foo=1,foo=2"], &[("foo", "1")]);
    keeps(&["foo=1", "foo=2"], &[("foo", "1")]);
    keeps(&["foo=1,bar=3,foo=2,congo=4"], &[("foo", "1"), ("bar", "3"), ("congo", "4")]);
}

#[test]
fn tracestate_all_allowed_characters() {
    let key = "abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    let value: String = (' '..='~').filter(|c| !",=".contains(*c)).collect();
    for key in [key.to_owned(), format!("{key}@a-z0-9_-*/")] {
        keeps(&[&format!("{key}={value}")], &[(&key, &value)]);
    }
}

#[test]
fn tracestate_ows_handling() {
    keeps(&["foo=1 \t , \t bar=2, \t baz=3"], &[("foo", "1"), ("bar", "2"), ("baz", "3")]);
    keeps(&["foo=1\t \t,\t \tbar=2,\t \tbaz=3"], &[("foo", "1"), ("bar", "2"), ("baz", "3")]);
    for value in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        keeps(&[value], &[("foo", "1")]);
    }
}

#[test]
fn tracestate_key_illegal_characters() {
    for value in ["foo =1", "FOO=1", "foo.bar=1"] {
        discards(&[value]);
    }
}

/// Level 2 has no tenant and vendor. Except at the start, `@` has no special meaning.
#[test]
fn tracestate_key_illegal_vendor_format() {
    keeps(&["foo@=1,bar=2"], &[("foo@", "1"), ("bar", "2")]);
    discards(&["@foo=1,bar=2"]);
    keeps(&["foo@@bar=1,bar=2"], &[("foo@@bar", "1"), ("bar", "2")]);
    keeps(&["foo@bar@baz=1,bar=2"], &[("foo@bar@baz", "1"), ("bar", "2")]);
}

#[test]
fn tracestate_member_count_limit() {
    let members = |range: std::ops::RangeInclusive<u32>| -> String {
        range.map(|n| format!("bar{n:02}={n:02}")).collect::<Vec<_>>().join(",")
    };
    let headers = [members(1..=10), members(11..=20), members(21..=30)];
    let [first, second, third] = headers.each_ref().map(String::as_str);
    let sent = state(&[first, second, third, &members(31..=32)]);
    assert_eq!((sent.state("bar01"), sent.tracestate.len()), (Some("01"), 32));
    discards(&[first, second, third, &members(31..=33)]);
}

#[test]
fn tracestate_key_length_limit() {
    let repeat = |text: &str, count| text.repeat(count);
    for key in [
        repeat("z", 256),
        repeat("t", 241) + "@" + &repeat("v", 14),
        repeat("t", 242) + "@v",
        "t@".to_owned() + &repeat("v", 15),
    ] {
        keeps(&["foo=1", &format!("{key}=1")], &[("foo", "1"), (&key, "1")]);
    }
    discards(&["foo=1", &format!("{}=1", repeat("z", 257))]);
}

#[test]
fn tracestate_value_illegal_characters() {
    discards(&["foo=bar=baz"]);
    discards(&["foo=,bar=3"]);
}

// ===== TraceContext2Test =====

#[test]
fn propagates_random_flag() {
    for flags in [0b00, 0b01, 0b10, 0b11] {
        let value = format!("00-{TRACE}-1234567890123456-{flags:02x}");
        assert_eq!(call(&[("traceparent", &value)]).flags, flags, "{value}");
    }
}

// ===== AdvancedTest =====

fn parents(calls: &[Sent]) -> usize {
    calls.iter().map(|sent| &sent.parent_id).collect::<std::collections::HashSet<_>>().len()
}

#[test]
fn multiple_requests_with_valid_traceparent() {
    let calls = calls(&[("traceparent", PARENT)], 3);
    assert!(calls.iter().all(|sent| sent.trace_id == TRACE));
    assert_eq!(parents(&calls), 3);
}

#[test]
fn multiple_requests_without_traceparent() {
    assert_eq!(parents(&calls(&[], 3)), 3);
}

#[test]
fn multiple_requests_with_illegal_traceparent() {
    let calls = calls(&[("traceparent", "00-00000000000000000000000000000000-1234567890123456-01")], 3);
    assert!(calls.iter().all(|sent| sent.trace_id != "00000000000000000000000000000000"));
    assert_eq!(parents(&calls), 3);
}
