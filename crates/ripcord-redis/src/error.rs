//! Why an operation over Redis failed.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use redis::RedisError;
use ripcord_policy::ConfigError;

/// The error of an operation over Redis.
///
/// | the operation failed because | method |
/// |---|---|
/// | its context ended | [`context_error`](Error::context_error) |
/// | Redis could not be reached, or did not answer within the [`timeout`](crate::ClientBuilder::timeout) | [`is_unavailable`](Error::is_unavailable) |
/// | Redis answered with an error | [`code`](Error::code), for most errors |
/// | a setting or an argument is invalid | [`config_error`](Error::config_error) |
/// | a value could not be written or read as JSON, or the client's thread could not be started | none |
///
/// `{}` prints the operation and the reason, such as `cancel: context deadline exceeded`. `{:#}` adds the line of code that made
/// the call, the cause of the end of the context, and the error of the connection.
///
/// The [`source`](StdError::source) is the [`ripcord::Error`] if the context ended. Otherwise, it is the error that made the
/// operation fail: the error of the connection, the error with which Redis answered, the [`ConfigError`], the error of reading or
/// writing JSON, or the error of starting the thread. There is no source if the command was not sent, because Redis was known to be
/// unavailable.
pub struct Error(Box<Repr>);

struct Repr {
    /// The name of the method, such as `cancel`.
    operation: &'static str,
    location: &'static Location<'static>,
    kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// The context ended.
    Ended(ripcord::Error),
    /// Redis did not answer. `error` is `None` if the command was not sent, because Redis was known to be unavailable.
    Unavailable { error: Option<RedisError>, retry_after: Duration },
    /// Redis answered with an error.
    Refused(RedisError),
    /// A setting is invalid.
    Config(ConfigError),
    /// The client's thread could not be started.
    Thread(std::io::Error),
    /// A value could not be read or written as JSON.
    Json(serde_json::Error),
}

impl Error {
    pub(crate) fn new(operation: &'static str, location: &'static Location<'static>, kind: Kind) -> Self {
        Error(Box::new(Repr { operation, location, kind }))
    }

    /// If the operation failed because its context was canceled or the deadline of the context passed, returns the error of the
    /// context. Otherwise returns `None`.
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.0.kind {
            Kind::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Returns whether the operation failed because Redis could not be reached or did not answer within the
    /// [`timeout`](crate::ClientBuilder::timeout). The result is also `true` for an answer by which Redis says that it cannot serve
    /// commands, such as `CLUSTERDOWN`, or refuses all writes, such as `MISCONF`.
    ///
    /// If the connection was lost before the answer came, or the answer was late, the operation may have taken effect.
    pub fn is_unavailable(&self) -> bool {
        matches!(self.0.kind, Kind::Unavailable { .. })
    }

    /// Returns whether the command was not sent, because Redis was known to be unavailable.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self.0.kind, Kind::Unavailable { error: None, .. })
    }

    /// If Redis is [unavailable](Error::is_unavailable), returns the time from the failure to the client's next attempt to connect.
    /// Otherwise returns `None`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.0.kind {
            Kind::Unavailable { retry_after, .. } => Some(retry_after),
            _ => None,
        }
    }

    /// If a setting of a builder or an argument of a method is invalid, returns an error that names it. Otherwise returns `None`.
    pub fn config_error(&self) -> Option<&ConfigError> {
        match &self.0.kind {
            Kind::Config(error) => Some(error),
            _ => None,
        }
    }

    /// If Redis answered with an error, returns the code of this error, such as `NOPERM` (the user has no permission). Returns
    /// `None` for any other failure, and for an answer that has no code because it is of an unexpected type.
    pub fn code(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Refused(error) => error.code(),
            _ => None,
        }
    }

    /// Returns the line of your code that called the method that failed.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr { operation, location, kind } = &*self.0;
        write!(f, "{operation}: ")?;
        match kind {
            Kind::Ended(end) if f.alternate() => write!(f, "{end:#}")?,
            Kind::Ended(end) => write!(f, "{end}")?,
            Kind::Unavailable { error, retry_after } => {
                write!(f, "Redis is unavailable; next attempt in {retry_after:?}")?;
                if let Some(error) = error.as_ref().filter(|_| f.alternate()) {
                    write!(f, ": {error}")?;
                }
            }
            Kind::Refused(error) => write!(f, "Redis answered: {error}")?,
            Kind::Config(error) => write!(f, "{error}")?,
            Kind::Thread(error) => write!(f, "the client's thread could not be started: {error}")?,
            Kind::Json(error) => write!(f, "the value cannot be written or read as JSON: {error}")?,
        }
        if f.alternate() {
            write!(f, " (at {location})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("operation", &self.0.operation)
            .field("kind", &self.0.kind)
            .field("location", &self.0.location)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.kind {
            Kind::Ended(end) => Some(end),
            Kind::Unavailable { error, .. } => error.as_ref().map(|error| error as _),
            Kind::Refused(error) => Some(error),
            Kind::Config(error) => Some(error),
            Kind::Thread(error) => Some(error),
            Kind::Json(error) => Some(error),
        }
    }
}
