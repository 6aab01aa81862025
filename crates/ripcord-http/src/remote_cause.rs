//! The `ripcord-cause` header.

use std::error::Error;
use std::fmt::{self, Write as _};

use http::{HeaderMap, HeaderValue};

use crate::Malformed;

/// The reason why a context in another process ended, from the header or trailer `ripcord-cause`.
///
/// A server sends it to a [trusted](crate::TrustPolicy) client, in the response to a request whose context has ended. A client
/// with a [`CauseLayer`](crate::client::CauseLayer) sends it when it cancels a call.
///
/// ```
/// use http::HeaderValue;
/// use ripcord::Context;
/// use ripcord_http::RemoteCause;
///
/// let (ctx, cancel) = Context::background().with_name("GET /search").with_cancel();
/// cancel.cancel_with("the server stops");
/// let sent: HeaderValue = RemoteCause::from_error(&ctx.err().unwrap()).to_header();
/// assert_eq!(sent, "GET /search: the server stops");
///
/// let received = RemoteCause::decode(&sent)?;
/// assert_eq!(received.to_string(), "peer: GET /search: the server stops");
/// # Ok::<(), ripcord_http::Malformed>(())
/// ```
///
/// The text of a remote cause contains the name of the context and the cause of its end. It never contains source lines. The header
/// is at most 256 bytes long. Bytes other than printable ASCII are escaped, so the text cannot contain a line break that would
/// forge a line of a log.
///
/// This type implements [`Error`], so you can use it as the cause of a cancel.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteCause(Box<str>);

/// Maximum length of the text on the wire, in bytes.
const MAX_LENGTH: usize = 256;
/// The end of a text that was cut.
const CUT: &str = "...";

impl RemoteCause {
    /// The name of the header that contains the reason why a context ended. If a gRPC response is cut short, a trailer of this name
    /// contains the reason.
    pub const HEADER: &str = "ripcord-cause";
    /// The name of the header that [`CauseLayer`](crate::client::CauseLayer) sends in an `OPTIONS` request to cancel another
    /// request. The value is the `traceparent` of the request to cancel.
    pub const CANCEL_HEADER: &str = "ripcord-cancel";

    /// Creates a remote cause from `error`, the error of a local context, to send it to another process.
    ///
    /// The text consists of the context's name, the kind of the error (such as `context deadline exceeded`), and the cause. If the
    /// context was canceled with a cause, the kind is omitted.
    pub fn from_error(error: &ripcord::Error) -> Self {
        let mut text = String::new();
        if let Some(name) = error.origin().name() {
            text.extend([name, ": "]);
        }
        let written = match error.cause() {
            Some(cause) if error.is_canceled() => write!(text, "{cause}"),
            Some(cause) => write!(text, "{error}: {cause}"),
            None => write!(text, "{error}"),
        };
        // Only a user's `Display` can fail.
        if written.is_err() {
            text.push('?');
        }
        RemoteCause(text.into())
    }

    /// Parses a value of the header `ripcord-cause`, and removes the escapes.
    ///
    /// # Errors
    ///
    /// Returns an error if the value is empty or longer than 256 bytes, or if it contains a byte other than printable ASCII. Also
    /// returns an error if the escapes (`%` and two hex digits) do not decode to UTF-8.
    pub fn decode(value: &HeaderValue) -> Result<Self, Malformed> {
        let malformed = |reason| Malformed::new(Self::HEADER, reason);
        let bytes = value.as_bytes();
        if bytes.is_empty() || bytes.len() > MAX_LENGTH {
            return Err(malformed("expected 1 to 256 bytes"));
        }
        let mut text = Vec::with_capacity(bytes.len());
        let mut rest = bytes.iter();
        while let Some(byte) = rest.next() {
            text.push(match byte {
                b'%' => {
                    let mut digit = || char::from(*rest.next()?).to_digit(16);
                    let escaped = digit().and_then(|high| Some(high << 4 | digit()?));
                    escaped.ok_or(malformed("expected two hex digits after %"))? as u8
                }
                b' '..=b'~' => *byte,
                _ => return Err(malformed("expected printable ASCII")),
            });
        }
        let text = String::from_utf8(text).map_err(|_| malformed("expected UTF-8"))?;
        Ok(RemoteCause(text.into()))
    }

    /// Returns the text to print on one line.
    pub(crate) fn text(&self) -> impl fmt::Display {
        Text(&self.0)
    }

    /// Returns the cause in the headers or trailers of a message. Returns `None` if there is no header
    /// [`ripcord-cause`](RemoteCause::HEADER), or if its value is malformed.
    pub fn find(headers: &HeaderMap) -> Option<Self> {
        RemoteCause::decode(headers.get(Self::HEADER)?).ok()
    }

    /// Returns the escaped text as a header value.
    ///
    /// Each byte that is not printable ASCII, and each `%`, is written as `%` and two hex digits. If the result is longer than 256
    /// bytes, it is cut and ends with `...`.
    pub fn to_header(&self) -> HeaderValue {
        let mut text = String::new();
        // The length of a cut text. The cut is between two characters.
        let mut cut = 0;
        for character in self.0.chars() {
            match character {
                ' '..='~' if character != '%' => text.push(character),
                _ => {
                    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                        write!(text, "%{byte:02X}").expect("a string accepts all writes");
                    }
                }
            }
            if text.len() <= MAX_LENGTH - CUT.len() {
                cut = text.len();
            }
            if text.len() > MAX_LENGTH {
                text.truncate(cut);
                text.push_str(CUT);
                break;
            }
        }
        HeaderValue::try_from(text).expect("it is printable ASCII")
    }
}

impl fmt::Display for RemoteCause {
    /// Prints the text on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer: {}", self.text())
    }
}

/// The text on one line.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character.is_control() {
                true => write!(f, "{}", character.escape_default())?,
                false => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RemoteCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteCause({:?})", self.0)
    }
}

impl Error for RemoteCause {}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str) -> Option<String> {
        let sent = RemoteCause(text.into()).to_header();
        assert!(
            sent.len() <= MAX_LENGTH && sent.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)),
            "{sent:?}"
        );
        Some(RemoteCause::decode(&sent).ok()?.0.into())
    }

    #[test]
    fn any_text_that_fits_comes_back_unchanged() {
        for text in ["client disconnected", "100 %", "%41", "a\r\nb: c\u{1b}[31m", "größer → 大"] {
            assert_eq!(round_trip(text).as_deref(), Some(text));
        }
        assert_eq!(round_trip(&"x".repeat(256)), Some("x".repeat(256)));
    }

    #[test]
    fn longer_text_is_cut_between_characters() {
        assert_eq!(round_trip(&"x".repeat(257)), Some("x".repeat(253) + "..."));
        // Each character takes 9 bytes on the wire.
        assert_eq!(round_trip(&"大".repeat(1000)), Some("大".repeat(28) + "..."));
    }

    #[test]
    fn malformed_values_are_rejected() {
        for value in ["", "%", "%4", "%4g", "%FF", "a\tb", &"x".repeat(257)] {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("http allows it");
            assert!(RemoteCause::decode(&value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_a_log() {
        let received = RemoteCause::decode(&HeaderValue::from_static("a%0D%0Ab")).expect("it is well-formed");
        assert_eq!(received.to_string(), "peer: a\\r\\nb");
    }
}
