//! The inspector's settings.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;

use super::{Inspector, Shared, Token};

/// Sets up an [`Inspector`]; from [`Inspector::builder`]. The defaults are no promise.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    pub(super) ctx: Context,
    pub(super) token: Option<Token>,
    pub(super) interval: Duration,
    pub(super) max_shown: usize,
    pub(super) max_kept: usize,
    pub(super) max_calls: usize,
}

const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

impl Default for Builder {
    fn default() -> Self {
        Builder {
            ctx: Context::background(),
            token: None,
            interval: Duration::from_millis(500),
            max_shown: 100,
            max_kept: 10,
            max_calls: 256,
        }
    }
}

impl Builder {
    /// Opens it to whoever has the token, from any machine, and to nobody without. By default this machine has it to itself.
    pub fn token(self, token: Token) -> Self {
        Builder { token: Some(token), ..self }
    }

    /// The context whose end ends the live streams, and whose clock times them. A server that closes its connections in order
    /// waits for what they still send, so give it the one that ends when the server is to stop.
    pub fn context(self, ctx: &Context) -> Self {
        Builder { ctx: ctx.clone(), ..self }
    }

    /// How long it is from one live snapshot to the next: half a second by default.
    ///
    /// # Errors
    ///
    /// [`InvalidInterval`] for less than 50 ms: each snapshot is work for the server.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let error = Inspector::builder().interval(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.to_string(), "invalid inspector interval: 0ns, less than 50ms");
    /// ```
    pub fn interval(self, interval: Duration) -> Result<Self, InvalidInterval> {
        if interval < SHORTEST_INTERVAL {
            return Err(InvalidInterval(interval));
        }
        Ok(Builder { interval, ..self })
    }

    /// How much of what is under way is shown: 100 entries by default, those first whose end has come, then the oldest. The
    /// others are counted.
    pub fn max_shown(self, max_shown: usize) -> Self {
        Builder { max_shown, ..self }
    }

    /// How many are kept of each bucket of latency: the last 10 by default, and as many that did not end well.
    pub fn max_kept(self, max_kept: usize) -> Self {
        Builder { max_kept, ..self }
    }

    /// How many calls below an entry are recorded: 256 by default. The others are counted.
    pub fn max_calls(self, max_calls: usize) -> Self {
        Builder { max_calls, ..self }
    }

    /// The inspector.
    ///
    /// # Panics
    ///
    /// With a token, when the system has no random numbers.
    pub fn build(self) -> Inspector {
        Inspector { shared: Arc::new(Shared::new(self)) }
    }
}

/// The error of [`Builder::interval`]: shorter than 50 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidInterval(Duration);

impl fmt::Display for InvalidInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid inspector interval: {:?}, less than {SHORTEST_INTERVAL:?}", self.0)
    }
}

impl Error for InvalidInterval {}
