//! What can go wrong with a call.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use http::Method;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a call failed: its Context ended, or what the client below it says.
///
/// `{}` prints as Go does, `Get "http://localhost/": context deadline exceeded`; of a body that was being read, only what follows the
/// colon. `{:#}` tells the story in both cases, as [`ripcord::Error`] does, or with the sources of the client's error. A password in
/// the URL shows as `***`.
///
/// The [`source`](StdError::source) is the [`ripcord::Error`], or what lies below the client's error; beyond that, which types are
/// found there is no promise.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_http::client::{ClientLayer, Error, RequestExt};
/// use tower::{Layer, Service};
///
/// # futures::executor::block_on(async {
/// # let client = tower::service_fn(|_: http::Request<String>| async { Ok::<_, std::io::Error>(http::Response::new(String::new())) });
/// let mut client = ClientLayer::new().layer(client);
/// let ctx = Context::background().with_timeout(Duration::ZERO);
/// let request = http::Request::get("http://localhost/").body(String::new()).unwrap().with_context(&ctx);
/// let error: Error = client.call(request).await.unwrap_err();
/// assert_eq!(error.to_string(), r#"Get "http://localhost/": context deadline exceeded"#);
/// assert!(error.is_deadline_exceeded());
/// # });
/// ```
#[derive(Clone)]
pub struct Error(Arc<Repr>);

struct Repr {
    call: Option<Call>,
    phase: Phase,
    kind: Kind,
}

/// Which call it was.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
}

/// Kept as it came, and printed when somebody looks.
#[derive(Clone)]
pub(super) enum Url {
    Uri(http::Uri),
    #[cfg(feature = "reqwest")]
    Url(Arc<str>),
}

#[derive(Clone, Copy)]
pub(super) enum Phase {
    Send,
    Read,
}

enum Kind {
    Context(ripcord::Error),
    Client(BoxError),
}

impl Error {
    pub(super) fn context(error: ripcord::Error, phase: Phase, call: Option<Call>) -> Self {
        Error(Arc::new(Repr { call, phase, kind: Kind::Context(error) }))
    }

    pub(super) fn client(error: BoxError, phase: Phase, call: Option<Call>) -> Self {
        // A layer below that knows the Context too has said it all.
        match error.downcast::<Error>() {
            Ok(error) => *error,
            Err(error) => Error(Arc::new(Repr { call, phase, kind: Kind::Client(error) })),
        }
    }

    /// Whether a Context's cancel ended it: the call's own, or one that the client below knew.
    pub fn is_canceled(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_canceled)
    }

    /// Whether a Context's deadline ended it, or left no time to begin. A timeout of the client's own is not meant.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_deadline_exceeded)
    }

    /// How the Context ended, if that is why: the first that is found among the sources.
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.0.kind {
            Kind::Context(error) => Some(error),
            Kind::Client(error) => find(&**error),
        }
    }

    /// Whether it happened while the response's body was read, after its head had come.
    pub fn is_body(&self) -> bool {
        matches!(self.0.phase, Phase::Read)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr { call, phase, kind } = &*self.0;
        if let Some(call) = call.as_ref().filter(|_| f.alternate() || matches!(phase, Phase::Send)) {
            write!(f, "{call}: ")?;
        }
        if f.alternate() && self.is_body() {
            f.write_str("reading the body: ")?;
        }
        match kind {
            Kind::Context(error) => fmt::Display::fmt(error, f),
            Kind::Client(error) if f.alternate() => {
                write!(f, "{error:#}")?;
                sources(&**error).skip(1).try_for_each(|error| write!(f, ": {error:#}"))
            }
            Kind::Client(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Error");
        if let Some(call) = &self.0.call {
            debug.field("call", call);
        }
        debug.field("is_body", &self.is_body());
        match &self.0.kind {
            Kind::Context(error) => debug.field("context", error),
            Kind::Client(error) => debug.field("client", error),
        };
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            Kind::Context(error) => Some(error),
            // Shown as itself, so what lies below it comes next.
            Kind::Client(error) => error.source(),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Call {
    /// As Go has it: `Get "http://localhost/"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, rest) = self.method.as_str().split_at(1);
        write!(f, "{first}{} \"", rest.to_ascii_lowercase())?;
        match &self.url {
            Url::Uri(uri) => write_redacted(&uri.to_string(), f)?,
            #[cfg(feature = "reqwest")]
            Url::Url(url) => write_redacted(url, f)?,
        }
        f.write_str("\"")
    }
}

/// Without the password, if there is one: `http://user:***@host/`.
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

/// An error and what lies below it.
fn sources<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// The first of this type among an error and what lies below it. What an [`io::Error`] wraps it shows as itself and leaves out
/// of its sources, so that is looked at too.
pub(super) fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let below = |&error: &&'a (dyn StdError + 'static)| match error.downcast_ref::<io::Error>() {
        Some(wrapper) => wrapper.get_ref().map(|inner| inner as _),
        None => error.source(),
    };
    std::iter::successors(Some(error), below).find_map(|error| error.downcast_ref())
}
