//! Tests request IDs, traces and baggage: accepted and rejected values, and the values that an untrusted client can set.

use std::time::Duration;

use http::HeaderValue;
use proptest::prelude::*;
use ripcord_http::trace_context::{Baggage, Traceparent, Tracestate};
use ripcord_http::{RequestId, TrustPolicy};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a header's value")
}

fn state(text: &str) -> Result<Option<Tracestate>, ripcord_http::Malformed> {
    Tracestate::decode([&header(text)])
}

fn baggage(text: &str) -> Result<Option<Baggage>, ripcord_http::Malformed> {
    Baggage::decode([&header(text)])
}

#[test]
fn request_id_accepts_only_safe_characters() {
    let longest = "a".repeat(128);
    for id in
        ["a", "req-17", "0b0e7f52-6d3c-4f0e-9d6a-6f1f6c6c7f55", "Root=1-67891233-abcdef012345678912345678", &longest]
    {
        assert_eq!(RequestId::decode(&header(id)).expect(id).as_str(), id);
    }
    for id in ["", " ", "a b", "a\tb", "a\"", "<script>", "a;b", "a,b", "é", "$(id)", "a%0d", &"a".repeat(129)] {
        assert!(RequestId::decode(&header(id)).is_err(), "{id:?}");
    }
    assert_eq!(RequestId::decode(&RequestId::generate().to_header()).unwrap().as_str().len(), 32);
}

#[test]
fn traceparent_is_strict_and_encodes_version_00() {
    let parent: Traceparent = PARENT.parse().unwrap();
    assert_eq!(parent.to_string(), PARENT);
    assert!(parent.is_sampled() && !parent.is_random());
    for (value, written) in [
        (PARENT.replace("-01", "-03"), PARENT.replace("-01", "-03")),
        (PARENT.replace("-01", "-ff"), PARENT.replace("-01", "-03")),
        (PARENT.replace("00-", "cc-"), PARENT.to_owned()),
        (PARENT.replace("00-", "cc-") + "-what-comes-later", PARENT.to_owned()),
        (PARENT.replace("00-", "01-") + "-", PARENT.to_owned()),
    ] {
        assert_eq!(value.parse::<Traceparent>().expect(&value).to_string(), written);
    }
    for value in [
        String::new(),
        "00-42-b7-01".to_owned(),
        PARENT[..54].to_owned(),
        PARENT.to_owned() + "-",
        PARENT.to_owned() + "0",
        format!(" {PARENT}"),
        format!("{PARENT},{PARENT}"),
        PARENT.to_uppercase(),
        PARENT.replace("00-", "ff-"),
        PARENT.replace("00-", "0g-"),
        PARENT.replace("00-", "cc-") + ".more",
        PARENT.replace('-', "_"),
        PARENT.replace("-01", "-0x"),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(),
    ] {
        assert!(value.parse::<Traceparent>().is_err(), "{value:?}");
    }
}

#[test]
fn tracestate_accepts_the_level_2_grammar_and_nothing_else() {
    let read = state(" a=1 ,, b@c = x,0t@s=y\t,").unwrap_err();
    assert_eq!(read.to_string(), "malformed tracestate: a key does not match the grammar");
    let read = state(" a=1 ,,0t@s= y z\t,").unwrap().unwrap();
    assert_eq!(read.members().collect::<Vec<_>>(), [("a", "1"), ("0t@s", " y z")]);
    let many = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
    assert_eq!(state(&many(32)).unwrap().unwrap().members().count(), 32);
    assert_eq!(state(" , ,"), Ok(None));
    assert_eq!(Tracestate::decode([]), Ok(None));
    let key = |length| "k".repeat(length) + "=v";
    assert!(state(&key(256)).is_ok());
    assert!(state(&("k=".to_owned() + &"v".repeat(256))).is_ok());
    for value in [
        &*many(33),
        "a",
        "=1",
        "a=",
        "A=1",
        "a=1=2",
        "a b=1",
        "@a=1",
        "-a=1",
        "a=é",
        &key(257),
        &("k=".to_owned() + &"v".repeat(257)),
    ] {
        assert!(state(value).is_err(), "{value:?}");
    }
    let joined = Tracestate::decode(&[header("a=1"), header("b=2"), header("c=3")]).unwrap().unwrap();
    assert_eq!(joined.to_header(), "a=1,b=2,c=3");
    let duplicate = Tracestate::decode(&[header("a=1"), header("b=2,a=3")]).unwrap().unwrap();
    assert_eq!((duplicate.get("a"), duplicate.get("b")), (Some("1"), Some("2")));
    assert_eq!(duplicate.to_header(), "a=1,b=2,a=3");
}

#[test]
fn baggage_accepts_the_w3c_grammar_and_nothing_else() {
    let read = baggage("a = 1 ; p ; q = 2 ,b=,c=%E4%zz%").unwrap().unwrap();
    let members: Vec<_> = read.members().map(|(key, value)| format!("{key}:{value}")).collect();
    assert_eq!(members, ["a:1", "b:", "c:\u{fffd}%zz%"]);
    assert_eq!(read.retain(|_| false), None);
    for value in ["a", "=1", "a b=1", "a=1 2", "a=\"1\"", "a=1;", "a=1;;p", "a=1;p=\\", "(a)=1", "a=é", "a=1,b"] {
        assert!(baggage(value).is_err(), "{value:?}");
    }
    assert_eq!(baggage(",, ,"), Ok(None));
}

#[test]
fn baggage_beyond_the_limits_is_dropped_across_all_headers() {
    let headers: Vec<_> = (0..64).map(|at| header(&format!("k{at}=v"))).collect();
    let all = Baggage::decode(&headers).unwrap().unwrap();
    assert_eq!((all.members().count(), all.is_cut()), (64, false));
    let cut = Baggage::decode(headers.iter().chain([&header("one=more")])).unwrap().unwrap();
    assert_eq!((cut.members().count(), cut.is_cut()), (64, true));

    let full = "a=".to_owned() + &"v".repeat(8185) + ",b=1,c=2";
    assert_eq!(full.len(), 8195);
    let cut = baggage(&full).unwrap().unwrap();
    assert_eq!((cut.to_header().len(), cut.is_cut()), (8191, true));
    let whole = baggage(&("a=".to_owned() + &"v".repeat(8190))).unwrap().unwrap();
    assert!(!whole.is_cut());
    let error = baggage(&("a=".to_owned() + &"v".repeat(8191))).unwrap_err();
    assert_eq!(error.to_string(), "malformed baggage: the first member is larger than 8192 bytes");
}

#[test]
fn untrusted_client_can_only_shorten_the_deadline() {
    let theirs: Traceparent = PARENT.parse().unwrap();
    let policy = TrustPolicy::default().with_max_timeout(Duration::from_secs(1));
    assert_eq!(policy.timeout(Some(Duration::ZERO)), Some(Duration::ZERO));
    assert_eq!(policy.timeout(Some(Duration::MAX)), Some(Duration::from_secs(1)));
    assert!(policy.is_clamped(Duration::MAX) && !policy.is_clamped(Duration::from_secs(1)));
    let id = RequestId::decode(&header("theirs")).unwrap();
    assert_ne!(policy.request_id(Some(id.clone())), id);
    assert_eq!(policy.baggage(baggage("a=1").unwrap()), None);
    let lineage = policy.trace(Some(theirs));
    assert_eq!(lineage.link(), Some(theirs));
    assert_ne!(lineage.current().trace_id(), theirs.trace_id());

    let policy = TrustPolicy::trusted();
    assert_eq!(policy.timeout(None), None);
    assert_eq!(policy.request_id(Some(id.clone())), id);
    assert!(policy.baggage(baggage("a=1").unwrap()).is_some());
}

proptest! {
    #[test]
    fn traceparent_round_trips(trace_id in 1..=u128::MAX, parent_id in 1..=u64::MAX, flags in 0..4_u8) {
        let text = format!("00-{trace_id:032x}-{parent_id:016x}-{flags:02x}");
        prop_assert_eq!(text.parse::<Traceparent>().unwrap().to_string(), text);
    }

    #[test]
    fn decoded_lists_round_trip(text in "[ -~\\t]{0,40}", second in "([a-c]=[1-3 ;%]{1,2},?){0,4}") {
        let headers = [header(&text), header(&second)];
        for headers in [&headers[..], &headers[1..]] {
            if let Ok(Some(state)) = Tracestate::decode(headers) {
                let again = state.to_header();
                prop_assert_eq!(Tracestate::decode([&again]).unwrap().unwrap(), state);
            }
            if let Ok(Some(baggage)) = Baggage::decode(headers) {
                let again = baggage.to_header();
                prop_assert_eq!(Baggage::decode([&again]).unwrap().unwrap(), baggage);
            }
        }
    }

    #[test]
    fn any_bytes_decode_without_a_panic(bytes: Vec<u8>) {
        let _ = Traceparent::decode(&bytes);
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let _ = RequestId::decode(&value);
            let _ = Tracestate::decode([&value]).map(|state| state.map(|state| state.members().count()));
            let _ = Baggage::decode([&value]).map(|baggage| baggage.map(|baggage| baggage.members().count()));
        }
    }
}
