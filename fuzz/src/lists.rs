//! Lists that span several headers: `tracestate` and `baggage`.

use http::HeaderValue;
use ripcord_http::trace_context::{Baggage, Tracestate};

use crate::text;

/// Reads headers, one per line. The first byte is the number of repetitions, so that short inputs also reach the limits.
fn headers(input: &[u8]) -> Vec<HeaderValue> {
    let Some((times, lines)) = input.split_first() else { return Vec::new() };
    let lines: Vec<_> =
        lines.split(|byte| *byte == b'\n').map(HeaderValue::from_bytes).filter_map(Result::ok).collect();
    (0..=*times / 2).flat_map(|_| lines.clone()).collect()
}

/// Joins several headers to one list.
fn joined(headers: &[HeaderValue]) -> String {
    headers.iter().map(|header| text(header.as_bytes())).collect::<Vec<_>>().join(",")
}

const BLANK: [char; 2] = [' ', '\t'];

type Members = Vec<(String, String)>;

pub fn tracestate(input: &[u8]) {
    let headers = headers(input);
    let members =
        |state: &Tracestate| -> Members { state.members().map(|(k, v)| (k.to_owned(), v.to_owned())).collect() };
    let decoded = Tracestate::decode(&headers);
    let said = decoded.as_ref().ok().map(|state| state.as_ref().map(members).unwrap_or_default());
    assert_eq!(said, tracestate_plainly(&joined(&headers)));

    let Ok(Some(state)) = decoded else { return };
    let again = Tracestate::decode([&state.to_header()]).expect("it was decoded").expect("it has members");
    assert_eq!(members(&again), members(&state));
    for (key, _) in state.members() {
        let first = state.members().find(|(other, _)| *other == key).map(|(_, value)| value);
        assert_eq!(state.get(key), first);
    }
}

fn tracestate_plainly(list: &str) -> Option<Members> {
    let mut members = Members::new();
    for member in list.split(',').map(|member| member.trim_matches(BLANK)).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_once('=')?;
        if !is_tracestate_key(key) || !is_tracestate_value(value) {
            return None;
        }
        members.push((key.to_owned(), value.to_owned()));
    }
    (members.len() <= 32).then_some(members)
}

fn is_tracestate_key(key: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    key.starts_with(first) && key.len() <= 256 && key.chars().all(|c| first(c) || "_-*/@".contains(c))
}

fn is_tracestate_value(value: &str) -> bool {
    let allowed = |c: char| matches!(c, '\x20'..='\x2b' | '\x2d'..='\x3c' | '\x3e'..='\x7e');
    !value.is_empty() && value.chars().count() <= 256 && value.chars().all(allowed) && !value.ends_with(' ')
}

pub fn baggage(input: &[u8]) {
    let headers = headers(input);
    let members =
        |baggage: &Baggage| -> Members { baggage.members().map(|(k, v)| (k.to_owned(), v.into_owned())).collect() };
    let decoded = Baggage::decode(&headers);
    let said = decoded.as_ref().ok().map(|baggage| match baggage {
        Some(baggage) => (members(baggage), baggage.is_cut()),
        None => Default::default(),
    });
    assert_eq!(said, baggage_plainly(&joined(&headers)));

    let Ok(Some(baggage)) = decoded else { return };
    assert!(baggage.to_header().len() <= Baggage::BYTES && members(&baggage).len() <= Baggage::MEMBERS);
    let again = Baggage::decode([&baggage.to_header()]).expect("it was decoded").expect("it has members");
    assert_eq!((members(&again), again.is_cut()), (members(&baggage), false));
    let kept = baggage.retain(|_| true).expect("it has members");
    assert_eq!(members(&kept), members(&baggage));
    assert!(baggage.retain(|_| false).is_none());
    for (key, _) in baggage.members() {
        assert_eq!(baggage.get(key), baggage.members().find(|(name, _)| *name == key).map(|(_, value)| value));
    }
}

fn baggage_plainly(list: &str) -> Option<(Members, bool)> {
    let mut members = Members::new();
    let mut bytes = 0;
    for part in list.split(',') {
        bytes += part.chars().count() + 1;
        let member = part.trim_matches(BLANK);
        if member.is_empty() {
            continue;
        }
        // The limit excludes the comma after the member.
        if members.len() == 64 || bytes - 1 > 8192 {
            return (!members.is_empty()).then_some((members, true));
        }
        let mut parts = member.split(';');
        let (key, value) = parts.next()?.split_once('=')?;
        let (key, value) = (key.trim_matches(BLANK), value.trim_matches(BLANK));
        let is_property = |property: &str| match property.split_once('=') {
            Some((key, value)) => is_token(key.trim_matches(BLANK)) && is_octets(value.trim_matches(BLANK)),
            None => is_token(property.trim_matches(BLANK)),
        };
        if !is_token(key) || !is_octets(value) || !parts.all(is_property) {
            return None;
        }
        members.push((key.to_owned(), percent_decoded(value)));
    }
    Some((members, false))
}

/// Returns whether the text is a `token` of RFC 9110.
fn is_token(text: &str) -> bool {
    let separator = |c: char| "\"(),/:;<=>?@[\\]{}".contains(c);
    !text.is_empty() && text.chars().all(|c| matches!(c, '!'..='~') && !separator(c))
}

/// Returns whether the text consists of W3C's `baggage-octet`s.
fn is_octets(text: &str) -> bool {
    let allowed = |c| matches!(c, '\x21' | '\x23'..='\x2b' | '\x2d'..='\x3a' | '\x3c'..='\x5b' | '\x5d'..='\x7e');
    text.chars().all(allowed)
}

fn percent_decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let digits = rest.get(1..3).filter(|digits| first == '%' && digits.chars().all(|c| c.is_ascii_hexdigit()));
        match digits {
            Some(digits) => bytes.push(u8::from_str_radix(digits, 16).unwrap()),
            None => bytes.push(first as u8),
        }
        rest = &rest[if digits.is_some() { 3 } else { 1 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
