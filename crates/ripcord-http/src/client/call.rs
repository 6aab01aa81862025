//! The method and URL of a call, for its error and its span.

use std::fmt;
#[cfg(feature = "reqwest")]
use std::sync::Arc;

use http::Method;

/// A call's method and URL.
#[derive(Clone)]
pub(crate) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
}

#[cfg(feature = "metrics")]
impl Call {
    /// Returns the URL's host, or an empty string if the URL has no host.
    pub(crate) fn host(&self) -> String {
        let uri = self.url.to_string().parse::<http::Uri>();
        uri.ok().and_then(|uri| Some(uri.host()?.to_owned())).unwrap_or_default()
    }
}

/// A URL in the type of the client. It is formatted only when an error or a span needs the text.
#[derive(Clone)]
pub(crate) enum Url {
    Uri(http::Uri),
    #[cfg(feature = "reqwest")]
    Url(Arc<str>),
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Call {
    /// Prints the call as Go does: `Get "http://localhost/"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, rest) = self.method.as_str().split_at(1);
        write!(f, "{first}{} \"", rest.to_ascii_lowercase())?;
        write!(f, "{}\"", self.url)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Url::Uri(uri) => write_redacted(&uri.to_string(), f),
            #[cfg(feature = "reqwest")]
            Url::Url(url) => write_redacted(url, f),
        }
    }
}

/// Writes the URL without its password: `http://user:***@host/`.
fn write_redacted(url: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    let Some(at) = url[authority..end].rfind('@').map(|at| authority + at) else {
        return f.write_str(url);
    };
    match url[authority..at].find(':') {
        Some(colon) => write!(f, "{}:***{}", &url[..authority + colon], &url[at..]),
        None => f.write_str(url),
    }
}
