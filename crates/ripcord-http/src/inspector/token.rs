//! The token that gives other machines access to the inspector.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;

/// A secret that gives access to the page of an [`Inspector`](super::Inspector): 16 to 256 visible ASCII characters. Pass it to
/// [`InspectorBuilder::token`](super::InspectorBuilder::token).
///
/// ```
/// use ripcord_http::inspector::Token;
///
/// let token: Token = "correct-horse-battery-staple".parse()?;
/// assert_eq!(format!("{token:?}"), "Token(..)");
/// assert_eq!("hunter2".parse::<Token>().unwrap_err().to_string(), "invalid inspector token: 7 characters, not 16 to 256");
/// # Ok::<(), ripcord_http::inspector::InvalidToken>(())
/// ```
///
/// A program sends the token in the header `Authorization: Bearer …`. In a browser, open the page once with `?token=…` at the end
/// of its URL. The inspector then sets a cookie. Use random characters, because the inspector does not limit how often a client can
/// guess. `Debug` does not print the token.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// Returns whether `given` is the token, in a time that depends only on the token's length.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken::Character);
        }
        if !(16..=256).contains(&text.len()) {
            return Err(InvalidToken::Length(text.len()));
        }
        Ok(Token(text.into()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The error of parsing a text that is not a valid [`Token`]. It never contains the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidToken {
    /// The text has this number of characters, which is not from 16 to 256.
    Length(usize),
    /// The text contains a space, a control character, or a character that is not ASCII.
    Character,
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid inspector token: ")?;
        match self {
            InvalidToken::Length(length) => write!(f, "{length} characters, not 16 to 256"),
            InvalidToken::Character => f.write_str("a character that is not visible ASCII"),
        }
    }
}

impl Error for InvalidToken {}
