//! The query of a search.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;

/// Maximum number of characters of `q`.
const MAX_CHARS: usize = 200;

/// The parsed query of a search URL, such as `q=context&timeout=500ms`.
///
/// ```
/// use std::time::Duration;
/// use ripcord_cli::search::Query;
///
/// let query = Query::parse("q=partial+results&timeout=250")?;
/// assert_eq!(query.words(), "partial results");
/// assert_eq!(query.timeout(), Some(Duration::from_millis(250)));
///
/// let error = Query::parse("q=context&timeout=soon").unwrap_err();
/// assert!(error.to_string().starts_with("timeout: expected "));
/// # Ok::<(), ripcord_cli::search::BadQuery>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    // Shared with the requests and with the key in the cache.
    pub(super) words: Arc<str>,
    timeout: Option<Duration>,
}

impl Query {
    /// Parses the query of a URL, without the question mark.
    ///
    /// # Errors
    ///
    /// Returns an error if the query is malformed, or if a parameter is unknown, given twice or out of bounds.
    pub fn parse(query: &str) -> Result<Query, BadQuery> {
        let (mut words, mut timeout) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let slot = match &*name {
                "q" => &mut words,
                "timeout" => &mut timeout,
                _ => return Err(BadQuery(format!("unknown parameter {name:?}: expected q or timeout"))),
            };
            if slot.replace(value).is_some() {
                return Err(BadQuery(format!("{name}: given twice")));
            }
        }
        let words = words.map(|words| words.trim().to_owned()).unwrap_or_default();
        if !(1..=MAX_CHARS).contains(&words.chars().count()) {
            let count = words.chars().count();
            return Err(BadQuery(format!("q: expected 1 to {MAX_CHARS} characters to search for, got {count}")));
        }
        Ok(Query { words: words.into(), timeout: timeout.as_deref().map(duration).transpose()? })
    }

    /// Returns the words to search for.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Returns the time limit that the query sets for the search. Returns `None` if the query sets no limit.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }
}

/// Decodes `+` and `%20`. A percent sign without two hex digits and invalid UTF-8 are errors.
fn decode(text: &str) -> Result<String, BadQuery> {
    let text = text.replace('+', " ");
    let is_escape = |rest: &str| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit);
    if text.split('%').skip(1).any(|rest| !is_escape(rest)) {
        return Err(BadQuery("malformed query: a % without two hex digits after it".to_owned()));
    }
    match percent_decode_str(&text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(BadQuery("malformed query: not UTF-8 after decoding".to_owned())),
    }
}

/// Parses a duration such as `500ms` or `1s 500ms`. Digits alone are milliseconds. `1.5s` is an error.
fn duration(text: &str) -> Result<Duration, BadQuery> {
    let parsed = match text.parse() {
        Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    };
    parsed.filter(|timeout| !timeout.is_zero()).ok_or_else(|| {
        let mut given: String = text.chars().take(40).collect();
        if given.len() < text.len() {
            given.push('…');
        }
        BadQuery(format!("timeout: expected more than zero, as in 500ms or 2s, or 500 for milliseconds, got {given:?}"))
    })
}

/// The error of an invalid query. The message names the parameter and the expected value. As a response, the error has status 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuery(String);

impl fmt::Display for BadQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadQuery {}

impl IntoResponse for BadQuery {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, self.0).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_query_is_an_error_that_names_the_parameter() {
        let cases = [
            ("", "q: expected 1 to 200 characters to search for, got 0"),
            ("q", "q: expected 1 to 200"),
            ("q=", "q: expected 1 to 200"),
            ("q=+%20", "q: expected 1 to 200 characters to search for, got 0"),
            ("timeout=1s", "q: expected 1 to 200"),
            ("q=a&q=b", "q: given twice"),
            ("q=a&timeout=1&timeout=2", "timeout: given twice"),
            ("q=a&timeout=", "timeout: expected more than zero"),
            ("q=a&timeout=0", "timeout: expected more than zero"),
            ("q=a&timeout=0s", "timeout: expected more than zero"),
            ("q=a&timeout=-1", "timeout: expected more than zero"),
            (
                "q=a&timeout=soon",
                "timeout: expected more than zero, as in 500ms or 2s, or 500 for milliseconds, got \"soon\"",
            ),
            ("q=a&timeout=99999999999999999999", "timeout: expected more than zero"),
            ("q=a&page=2", "unknown parameter \"page\": expected q or timeout"),
            ("q=%", "malformed query: a % without two hex digits after it"),
            ("q=%zz", "malformed query: a %"),
            ("q=100%", "malformed query: a %"),
            ("q=%ff", "malformed query: not UTF-8 after decoding"),
        ];
        for (query, expected) in cases {
            let error = Query::parse(query).expect_err(query).to_string();
            assert!(error.starts_with(expected), "{query:?}: {error}");
        }
        let long = format!("q={}", "ä".repeat(201));
        let error = Query::parse(&long).expect_err("too long").to_string();
        assert_eq!(error, "q: expected 1 to 200 characters to search for, got 201");
        let long = format!("q=a&timeout={}", "9".repeat(10_000));
        assert!(
            Query::parse(&long).expect_err("too long").to_string().len() < 200,
            "the error must not repeat the whole query"
        );
    }

    #[test]
    fn values_at_the_bounds_are_accepted() {
        assert!(Query::parse(&format!("q={}", "ä".repeat(200))).is_ok());
        assert_eq!(Query::parse("q=a&timeout=1").map(|query| query.timeout), Ok(Some(Duration::from_millis(1))));
        assert_eq!(
            Query::parse("q=%C3%A4&timeout=1s%20500ms").map(|query| query.timeout),
            Ok(Some(Duration::from_millis(1500)))
        );
        let most = format!("q=a&timeout={}", u64::MAX);
        assert_eq!(Query::parse(&most).map(|query| query.timeout), Ok(Some(Duration::from_millis(u64::MAX))));
    }
}
