//! The `traceparent` header.

use std::fmt;
use std::str::FromStr;

use http::HeaderValue;
use ripcord::Value;

use super::hex;
use crate::{Malformed, random};

const SAMPLED: u8 = 1;
const RANDOM: u8 = 2;

/// The W3C header `traceparent`: the ID of a trace, the ID of a span in it, and the flags `sampled` and `random`.
///
/// ```
/// use ripcord_http::trace_context::Traceparent;
///
/// let theirs: Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03".parse()?;
/// assert!(theirs.is_sampled() && theirs.is_random());
///
/// let ours = theirs.child();
/// assert_eq!(ours.trace_id(), theirs.trace_id());
/// assert_ne!(ours.parent_id(), theirs.parent_id());
/// assert!(ours.to_string().ends_with("-03"));
/// # Ok::<(), ripcord_http::Malformed>(())
/// ```
///
/// This type writes version 00. For a later version, it reads the first four fields and ignores the rest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Traceparent {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

impl Traceparent {
    /// The name of the header, in lower case.
    pub const HEADER: &str = "traceparent";
    /// Length of version 00 in characters.
    const LENGTH: usize = 55;

    /// Creates the `traceparent` of the first span of a new trace. The trace ID and the span ID are random.
    ///
    /// `sampled` is the value of the flag [`sampled`](Traceparent::is_sampled). The flag [`random`](Traceparent::is_random) is set.
    pub fn start(sampled: bool) -> Self {
        let flags = if sampled { SAMPLED | RANDOM } else { RANDOM };
        Traceparent { trace_id: random::id(), parent_id: random::short_id(), flags }
    }

    /// Returns `None` if either ID is all zeros.
    #[cfg(feature = "tracing")]
    pub(crate) fn from_ids(trace_id: [u8; 16], parent_id: [u8; 8], sampled: bool, random: bool) -> Option<Self> {
        let flags = if sampled { SAMPLED } else { 0 } | if random { RANDOM } else { 0 };
        (trace_id != [0; 16] && parent_id != [0; 8]).then_some(Traceparent { trace_id, parent_id, flags })
    }

    /// Returns the `traceparent` of a new child of this span. The child has a new random span ID, and the same trace ID and flags.
    #[must_use]
    pub fn child(self) -> Self {
        Traceparent { parent_id: random::short_id(), ..self }
    }

    /// Parses a value of the header `traceparent`.
    ///
    /// # Errors
    ///
    /// Returns an error if the version is `ff`, if the length, a dash or a hex digit is wrong, or if an ID is all zeros. Hex digits
    /// must be lowercase. For a version later than 00, the value may contain further fields, which are ignored.
    pub fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let malformed = |reason| Malformed::new(Self::HEADER, reason);
        let Some((fields, rest)) = value.split_at_checked(Self::LENGTH) else {
            return Err(malformed("shorter than 55 characters"));
        };
        let [version] = hex::read(&fields[..2]).ok_or(malformed("the version is not lowercase hex"))?;
        match (version, rest) {
            (0xff, _) => return Err(malformed("version ff")),
            (0, [_, ..]) => return Err(malformed("longer than 55 characters")),
            (_, [] | [b'-', ..]) => {}
            _ => return Err(malformed("expected a dash after the fourth field")),
        }
        if [fields[2], fields[35], fields[52]] != *b"---" {
            return Err(malformed("expected dashes between the fields"));
        }
        let not_hex = malformed("a field is not lowercase hex");
        let trace_id = hex::read(&fields[3..35]).ok_or(not_hex)?;
        let parent_id = hex::read(&fields[36..52]).ok_or(not_hex)?;
        let [flags] = hex::read(&fields[53..]).ok_or(not_hex)?;
        if trace_id == [0; 16] || parent_id == [0; 8] {
            return Err(malformed("an id is all zeros"));
        }
        Ok(Traceparent { trace_id, parent_id, flags: flags & (SAMPLED | RANDOM) })
    }

    /// Returns the value of the header `traceparent` in version 00, as ASCII text.
    pub fn encode(&self) -> [u8; 55] {
        let mut text = *b"00-................................-................-..";
        hex::write(&self.trace_id, &mut text[3..35]);
        hex::write(&self.parent_id, &mut text[36..52]);
        hex::write(&[self.flags], &mut text[53..]);
        text
    }

    /// Returns the ID of the trace. It is never all zeros.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Returns the ID of the span. It is never all zeros.
    ///
    /// The W3C specification calls this field `parent-id`, because the span is the parent of the receiver's span.
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Returns the flag `sampled`: whether the sender may have recorded the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the flag `random`: whether the last seven bytes of the trace ID are random.
    pub fn is_random(&self) -> bool {
        self.flags & RANDOM != 0
    }
}

impl FromStr for Traceparent {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Traceparent::decode(text.as_bytes())
    }
}

impl From<Traceparent> for HeaderValue {
    fn from(traceparent: Traceparent) -> Self {
        HeaderValue::from_bytes(&traceparent.encode()).expect("hex and dashes are a header's value")
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.encode()).expect("hex and dashes are ASCII"))
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traceparent({self})")
    }
}

impl Value for Traceparent {
    // Trace IDs are not secret.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
