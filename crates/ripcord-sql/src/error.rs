//! The error of an operation on a database.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::Location;

/// The error of an operation on a database: its context ended, the database refused the operation, or the connection failed.
///
/// # Display
///
/// `{}` prints the method and the error: `query: context deadline exceeded`. `{:#}` prints all details on one line: the
/// source line that called the method, the cause, the source line that set the deadline or canceled the context, and the response
/// of the database.
///
/// The [`source`](StdError::source) is the [`ripcord::Error`] if the context ended. Otherwise, it is one of these: the error of the
/// driver (tokio-postgres or rusqlite), an I/O error of opening a connection, or the error that your function returned to `run` or
/// `transaction` of `sqlite::Pool`.
///
/// # Retries
///
/// | question | method |
/// |---|---|
/// | Is it safe to send the statement again, even if it changes data? | [`is_not_sent`](Error::is_not_sent) |
/// | May the same statement or transaction succeed on a second attempt? | [`is_transient`](Error::is_transient) |
/// | May the statement have taken effect although it failed? | [`is_outcome_unknown`](Error::is_outcome_unknown) |
///
/// With `Retry` of `ripcord-policy`, repeat a transaction from its beginning:
///
#[cfg_attr(feature = "postgres", doc = "```no_run")]
#[cfg_attr(not(feature = "postgres"), doc = "```ignore")]
/// use ripcord::Context;
/// use ripcord_policy::Retry;
/// use ripcord_sql::{Error, postgres::Pool};
///
/// async fn book(ctx: &Context, pool: &Pool, seat: i64) -> Result<(), Error> {
///     let transaction = pool.transaction(ctx).await?;
///     transaction.execute(ctx, "UPDATE seats SET is_free = false WHERE id = $1", &[&seat]).await?;
///     transaction.commit(ctx).await
/// }
///
/// # async fn example(ctx: Context, pool: Pool) -> Result<(), Box<dyn std::error::Error>> {
/// let retry = Retry::builder().max_attempts(3).retry_if(|error: &Error| error.is_transient()).build()?;
/// retry.run(&ctx, |ctx: Context| { let pool = pool.clone(); async move { book(&ctx, &pool, 12).await } }).await?;
/// # Ok(())
/// # }
/// ```
pub struct Error(Box<Repr>);

struct Repr {
    /// The name of the method, such as `query`.
    operation: &'static str,
    location: &'static Location<'static>,
    kind: Kind,
}

#[cfg_attr(not(all(feature = "postgres", feature = "sqlite")), allow(dead_code, reason = "for the other back end"))]
pub(crate) enum Kind {
    /// The context ended before there was a connection.
    Waiting(ripcord::Error),
    /// The context ended before anything was sent.
    NotSent(ripcord::Error),
    /// The context ended the operation, which has had no effect. Contains the response of the database.
    Ended(ripcord::Error, Option<Driver>),
    /// The context ended the operation, and the database did not answer in time.
    Unanswered(ripcord::Error),
    /// No connection could be opened.
    Connect(Driver),
    /// The database refused the operation.
    Refused(Driver),
    /// The connection was lost while the operation was in progress.
    Lost(Driver),
    /// The user's closure has returned an error of its own.
    #[cfg(feature = "sqlite")]
    Closure(Box<dyn StdError + Send + Sync>),
    /// The pool is closed.
    Closed,
    /// Any other error, as a message.
    Other(&'static str),
}

/// The error of a driver.
#[derive(Debug)]
pub(crate) enum Driver {
    #[cfg(feature = "postgres")]
    Postgres(tokio_postgres::Error),
    #[cfg(feature = "sqlite")]
    #[allow(dead_code, reason = "the back end follows")]
    Sqlite(rusqlite::Error),
    /// No connection could be opened, for a reason outside the driver.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite has no sockets"))]
    Io(io::Error),
}

impl Error {
    pub(crate) fn new(operation: &'static str, location: &'static Location<'static>, kind: Kind) -> Error {
        Error(Box::new(Repr { operation, location, kind }))
    }

    /// Returns the error of the context that ended the operation. Returns `None` if the operation failed for another reason.
    pub fn context_error(&self) -> Option<&ripcord::Error> {
        match &self.0.kind {
            Kind::Waiting(error) | Kind::NotSent(error) | Kind::Ended(error, _) | Kind::Unanswered(error) => {
                Some(error)
            }
            _ => None,
        }
    }

    /// Returns whether the operation failed because the deadline or an idle timeout of its context passed.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_deadline_exceeded)
    }

    /// Returns whether the operation failed because its context was canceled.
    pub fn is_canceled(&self) -> bool {
        self.context_error().is_some_and(ripcord::Error::is_canceled)
    }

    /// Returns whether the context ended while the operation waited for a connection: all connections of the pool were in use, or a
    /// new connection was being opened.
    pub fn is_waiting_for_connection(&self) -> bool {
        matches!(self.0.kind, Kind::Waiting(_))
    }

    /// Returns whether nothing was sent to the database. If so, it is safe to try the operation again, even if it changes data.
    ///
    /// The result is `true` if the context ended before the statement was sent, if no connection could be opened, or if the pool is
    /// closed.
    pub fn is_not_sent(&self) -> bool {
        matches!(self.0.kind, Kind::Waiting(_) | Kind::NotSent(_) | Kind::Connect(_) | Kind::Closed)
    }

    /// Returns whether the operation may have taken effect although it failed.
    ///
    /// The result is `true` if the statement was sent, and one of these applies:
    ///
    /// - The connection was lost before the response arrived.
    /// - The response of Postgres has an SQLSTATE of the class 08. A pooler sends it when its connection to the server was lost.
    /// - The context ended, and the response did not arrive within the pool's grace period.
    /// - The context ended during one of the operations of Postgres without a grace period: a row stream, a COPY, the start of a
    ///   transaction or a rollback.
    ///
    /// `false` means that the operation has had no effect, with these exceptions:
    ///
    /// - The statement has succeeded, but its rows were rejected: `query_one` or `query_opt` reports a wrong number of rows, or the
    ///   function that maps a row has failed.
    /// - The operation consists of several statements without a common transaction: in the function passed to
    ///   `sqlite::Pool::run`, or in a `batch_execute` whose text contains `COMMIT`.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.0.kind, Kind::Unanswered(_) | Kind::Lost(_))
    }

    /// Returns whether the same statement may succeed on a second attempt. If the statement is part of a transaction, repeat the
    /// transaction from its beginning.
    ///
    /// The result is `true` for a conflict with another transaction, and for a lock that was not available. It is also `true` if
    /// the server could not be reached, is starting, is stopping, or accepts no more connections.
    ///
    /// The result is `false` if the context ended. It is also `false` for a lost connection, because the statement may have taken
    /// effect: see [`is_outcome_unknown`](Error::is_outcome_unknown).
    pub fn is_transient(&self) -> bool {
        match &self.0.kind {
            Kind::Connect(driver) => driver.is_connection() || driver.is_transient(),
            Kind::Refused(driver) => driver.is_transient(),
            _ => false,
        }
    }

    /// Returns the error of tokio-postgres: the response of the server, or the reason why an open connection failed. Returns
    /// `None` if the operation failed without such an error. If the server could not be reached, for example, the
    /// [`source`](StdError::source) is an [`io::Error`] instead.
    ///
    /// If the context ended and the server has stopped the statement, this is the server's response to the cancel.
    #[cfg(feature = "postgres")]
    pub fn postgres(&self) -> Option<&tokio_postgres::Error> {
        match self.driver()? {
            Driver::Postgres(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the error of rusqlite. Returns `None` if the operation failed without such an error.
    ///
    /// If the context ended and SQLite has stopped the statement, the error says that the statement was interrupted or that the
    /// database was busy.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(&self) -> Option<&rusqlite::Error> {
        match self.driver()? {
            Driver::Sqlite(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the name of the method of this crate that started the failed operation, such as `query`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// Returns the source line that called the method.
    pub fn location(&self) -> &'static Location<'static> {
        self.0.location
    }

    /// Returns the code of the error for OpenTelemetry and metrics: Postgres' SQLSTATE, SQLite's name of the code, or a word.
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    pub(crate) fn code(&self) -> String {
        let word = match &self.0.kind {
            Kind::Waiting(error) | Kind::NotSent(error) | Kind::Ended(error, _) | Kind::Unanswered(error) => {
                if error.is_deadline_exceeded() { "timeout" } else { "canceled" }
            }
            Kind::Connect(driver) | Kind::Refused(driver) | Kind::Lost(driver) => {
                return driver.code().unwrap_or_else(|| "connection".to_owned());
            }
            Kind::Closed => "closed",
            #[cfg(feature = "sqlite")]
            Kind::Closure(_) => "_OTHER",
            Kind::Other(_) => "_OTHER",
        };
        word.to_owned()
    }

    fn driver(&self) -> Option<&Driver> {
        match &self.0.kind {
            Kind::Ended(_, driver) => driver.as_ref(),
            Kind::Connect(driver) | Kind::Refused(driver) | Kind::Lost(driver) => Some(driver),
            _ => None,
        }
    }
}

impl Driver {
    /// Returns whether the server could not be reached.
    fn is_connection(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Postgres(error) => {
                error.as_db_error().is_none() && error.source().is_some_and(|source| source.is::<io::Error>())
            }
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => false,
            Driver::Io(_) => true,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Postgres(error) => error.code().is_some_and(crate::postgres::is_transient),
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(error) => crate::sqlite::is_transient(error),
            Driver::Io(_) => false,
        }
    }

    #[cfg(any(feature = "metrics", feature = "tracing"))]
    fn code(&self) -> Option<String> {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Postgres(error) => error.code().map(|code| code.code().to_owned()),
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(error) => error.sqlite_error_code().map(|code| format!("{code:?}")),
            Driver::Io(_) => None,
        }
    }

    fn as_error(&self) -> &(dyn StdError + 'static) {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Postgres(error) => error,
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(error) => error,
            Driver::Io(error) => error,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // tokio-postgres prints `db error`, and the server's text as its source.
            #[cfg(feature = "postgres")]
            Driver::Postgres(error) => match (error.as_db_error(), error.source()) {
                (Some(answer), _) => fmt::Display::fmt(answer, f),
                (None, Some(source)) => write!(f, "{error}: {source}"),
                (None, None) => fmt::Display::fmt(error, f),
            },
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(error) => fmt::Display::fmt(error, f),
            Driver::Io(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr { operation, location, kind } = &*self.0;
        f.write_str(operation)?;
        if f.alternate() {
            write!(f, " (called at {location})")?;
        }
        f.write_str(": ")?;
        match kind {
            Kind::Waiting(error) => {
                f.write_str("waiting for a connection: ")?;
                fmt::Display::fmt(error, f)
            }
            Kind::NotSent(error) => {
                f.write_str("not sent: ")?;
                fmt::Display::fmt(error, f)
            }
            Kind::Ended(error, Some(answer)) if f.alternate() => {
                write!(f, "{error:#}; the database answered: {answer}")
            }
            Kind::Unanswered(error) if f.alternate() => {
                write!(f, "{error:#}; the database did not answer in time, so the operation may have taken effect")
            }
            // Passes the alternate flag on.
            Kind::Ended(error, _) | Kind::Unanswered(error) => fmt::Display::fmt(error, f),
            Kind::Connect(driver) => write!(f, "cannot connect: {driver}"),
            Kind::Refused(driver) => write!(f, "{driver}"),
            Kind::Lost(driver) => write!(f, "the connection was lost: {driver}"),
            // Passes the alternate flag on.
            #[cfg(feature = "sqlite")]
            Kind::Closure(error) => fmt::Display::fmt(error, f),
            Kind::Closed => f.write_str("the pool is closed"),
            Kind::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("operation", &self.0.operation)
            .field("location", &self.0.location.to_string())
            .field("context", &self.context_error())
            .field("driver", &self.driver())
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match (&self.0.kind, self.context_error()) {
            (_, Some(error)) => Some(error),
            #[cfg(feature = "sqlite")]
            (Kind::Closure(error), _) => Some(&**error),
            _ => self.driver().map(Driver::as_error),
        }
    }
}

impl From<Error> for io::Error {
    /// Converts the error. The kind is [`io::ErrorKind::TimedOut`] if the deadline of the context passed. Otherwise, the kind is
    /// [`io::ErrorKind::Other`].
    fn from(error: Error) -> Self {
        let kind = error.context_error().map_or(io::ErrorKind::Other, |error| io::Error::from(error.clone()).kind());
        io::Error::new(kind, error)
    }
}
