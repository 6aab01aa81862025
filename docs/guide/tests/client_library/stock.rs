use std::{error, fmt, future::Future, panic::Location, time::Duration};

use ripcord::{Clock, Context};
use ripcord_policy::{CircuitBreaker, Jitter, Outcome, Retry, Stack};

/// Sends one request. The future ends when `ctx` ends.
pub trait Transport: Send + Sync {
    fn get(&self, ctx: &Context, path: &str) -> impl Future<Output = Result<String, Failure>> + Send;
}

/// The failure of one request.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The context of the request ended.
    Ended(ripcord::Error),
    /// Nothing was sent, because less than a millisecond was left.
    TooLate,
    /// The service has answered with this status.
    Status(u16),
    /// The service could not be reached.
    Unreachable,
}

/// A client of the stock service.
pub struct Client<T> {
    transport: T,
    stack: Stack<String, Failure>,
    /// The limit of a call whose context has no deadline, and the line that set it.
    limit: (Duration, &'static Location<'static>),
}

impl<T: Transport> Client<T> {
    /// Creates a client. A call ends when its context ends. If the context has no deadline, the limit is 10 seconds.
    #[track_caller]
    pub fn new(transport: T) -> Self {
        Client::with_clock(transport, Clock::system())
    }

    /// Creates a client whose circuit breaker uses `clock`. For tests. All other times are measured by the clock of the call's context.
    #[track_caller]
    pub fn with_clock(transport: T, clock: Clock) -> Self {
        let stack = Stack::builder()
            .retry(Retry::builder().max_attempts(3).base(Duration::from_millis(100)).jitter(Jitter::Full).retry_if(is_transient))
            .breaker(CircuitBreaker::builder("stock").clock(clock).consecutive_failures(5).classify(health))
            .attempt_timeout(Duration::from_secs(2))
            .build()
            .expect("the settings are constants");
        Client { transport, stack, limit: (Duration::from_secs(10), Location::caller()) }
    }

    /// Sets the limit of a call whose context has no deadline.
    #[track_caller]
    pub fn timeout(self, timeout: Duration) -> Self {
        Client { limit: (timeout, Location::caller()), ..self }
    }

    /// Returns how many of these items are in stock.
    ///
    /// # Errors
    ///
    /// Returns an error if `ctx` ends, if the service fails, or if it does not know the item.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the request.
    pub async fn stock(&self, ctx: &Context, item: &str) -> Result<u32, Error> {
        // A limit, if the caller has none.
        let limited = match ctx.deadline() {
            Some(_) => ctx.clone(),
            None => ctx.with_timeout_cause_at(self.limit.0, "the stock client's own limit", self.limit.1),
        };
        // A name for errors, and a span for the inspector and for traces.
        let (ctx, _span) = limited.with_name("stock").start_span("stock");
        let path = format!("/stock/{item}");
        let body = self.stack.run(&ctx, |ctx| {
            let path = &path;
            async move { self.transport.get(&ctx, path).await }
        });
        let body = body.await.map_err(|error| Error(Kind::Failed(error)))?;
        body.trim().parse().map_err(|_| Error(Kind::Malformed(body)))
    }
}

/// Returns whether another attempt may help. The stack asks only for errors of the transport: after an attempt timeout it makes another
/// attempt, and after the end of the caller's context it makes none.
fn is_transient(failure: &Failure) -> bool {
    matches!(failure, Failure::Unreachable | Failure::Status(503))
}

/// Returns whether the service is healthy. An unknown item is a correct answer, so it must not open the breaker.
fn health(result: &Result<String, Failure>) -> Outcome {
    match result {
        Ok(_) | Err(Failure::Status(400..=499)) => Outcome::Success,
        Err(Failure::Ended(_) | Failure::TooLate) => Outcome::Neutral,
        Err(_) => Outcome::Failure,
    }
}

/// The error of a call. `{}` prints a short text. `{:#}` also prints the line that set the deadline, and the last failure.
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    Failed(ripcord_policy::Error<Failure>),
    Malformed(String),
}

impl Error {
    fn failed(&self) -> Option<&ripcord_policy::Error<Failure>> {
        match &self.0 {
            Kind::Failed(error) => Some(error),
            Kind::Malformed(_) => None,
        }
    }

    /// Returns whether the service does not know the item.
    pub fn is_not_found(&self) -> bool {
        matches!(self.failed().and_then(|error| error.last()), Some(Failure::Status(404)))
    }

    /// Returns whether the context of the call was canceled.
    pub fn is_canceled(&self) -> bool {
        self.failed().is_some_and(|error| error.is_canceled())
    }

    /// Returns whether the deadline of the call has passed, or was too near for another attempt.
    pub fn is_deadline_exceeded(&self) -> bool {
        self.failed().is_some_and(|error| error.is_deadline_exceeded() || matches!(error.last(), Some(Failure::TooLate)))
    }

    /// Returns whether the same call may succeed later: the service did not answer in time, or it could not be reached.
    pub fn is_unavailable(&self) -> bool {
        let Some(error) = self.failed() else { return false };
        let is_down = error.is_attempt_timeout() || error.is_breaker_open() || error.last().is_some_and(is_transient);
        is_down && !error.is_canceled()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stock: ")?;
        match &self.0 {
            Kind::Failed(error) => fmt::Display::fmt(error, f), // passes `#` on
            Kind::Malformed(body) => write!(f, "malformed number {body:?}"),
        }
    }
}

impl error::Error for Error {
    /// Returns the error of the call's context if its end is the reason, and the last failure otherwise.
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        let error = self.failed()?;
        match error.context_error() {
            // For an outcome other than `Neutral`, this is the end of an attempt.
            Some(end) if error.outcome() == Outcome::Neutral => Some(end),
            _ => error::Error::source(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Ended(end) => fmt::Display::fmt(end, f),
            Failure::TooLate => f.write_str("too little time is left to send a request"),
            Failure::Status(status) => write!(f, "status {status}"),
            Failure::Unreachable => f.write_str("unreachable"),
        }
    }
}

impl error::Error for Failure {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Failure::Ended(end) => error::Error::source(end), // `Display` prints the end itself
            _ => None,
        }
    }
}
