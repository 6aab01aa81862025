//! A request's ID, and the trace that the request belongs to.

use http::HeaderValue;
use ripcord_http::RequestId;
use ripcord_http::trace_context::Traceparent;

use crate::text;

pub fn request_id(input: &[u8]) {
    let Ok(header) = HeaderValue::from_bytes(input) else { return };
    let allowed = |c: char| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' | ':' | '/' | '+' | '=');
    let plainly = text(input);
    match RequestId::decode(&header) {
        Ok(id) => {
            assert!(plainly.chars().all(allowed) && !plainly.is_empty() && plainly.len() <= 128, "{plainly:?}");
            assert_eq!(id.as_str(), plainly);
            assert_eq!(RequestId::decode(&id.to_header()).as_ref(), Ok(&id));
        }
        Err(_) => assert!(!plainly.chars().all(allowed) || plainly.is_empty() || plainly.len() > 128, "{plainly:?}"),
    }
}

pub fn traceparent(input: &[u8]) {
    let decoded = Traceparent::decode(input).ok();
    let said = decoded.map(|parent| (parent.trace_id(), parent.parent_id(), parent.is_sampled(), parent.is_random()));
    assert_eq!(said, plainly(&text(input)));
    let Some(parent) = decoded else { return };
    let encoded = parent.encode();
    assert_eq!(Traceparent::decode(&encoded), Ok(parent));
    assert_eq!(&encoded[..3], b"00-");
    assert_eq!(plainly(&text(&encoded)), said);
    let child = parent.child();
    assert_eq!((child.trace_id(), child.is_sampled()), (parent.trace_id(), parent.is_sampled()));
}

type Parent = ([u8; 16], [u8; 8], bool, bool);

fn plainly(value: &str) -> Option<Parent> {
    let mut fields = value.splitn(5, '-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let lengths = [version.len(), trace.len(), parent.len(), flags.len()];
    let is_hex = |field: &str| field.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    if lengths != [2, 32, 16, 2] || ![version, trace, parent, flags].into_iter().all(is_hex) {
        return None;
    }
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let (trace, parent) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(parent, 16).ok()?);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace != 0 && parent != 0).then(|| (trace.to_be_bytes(), parent.to_be_bytes(), flags % 2 == 1, flags / 2 % 2 == 1))
}
