//! The inspector's settings.

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use ripcord::Context;

use super::access::Access;
use super::{Inspector, Token};

/// The settings of an [`Inspector`]. Created by [`Inspector::builder`]. Call [`build`](InspectorBuilder::build) to create the
/// inspector.
///
/// The default values may change in a later version.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct InspectorBuilder {
    pub(super) ctx: Context,
    pub(super) token: Option<Token>,
    pub(super) interval: Duration,
    pub(super) max_shown: usize,
    pub(super) max_kept: usize,
    pub(super) max_calls: usize,
}

const MIN_INTERVAL: Duration = Duration::from_millis(50);

impl Default for InspectorBuilder {
    fn default() -> Self {
        InspectorBuilder {
            ctx: Context::background(),
            token: None,
            interval: Duration::from_millis(500),
            max_shown: 100,
            max_kept: 10,
            max_calls: 256,
        }
    }
}

impl InspectorBuilder {
    /// Sets the token that gives access to the page from any machine. Default: none, and only this machine has access.
    ///
    /// With a token, clients on this machine need the token too.
    pub fn token(self, token: Token) -> Self {
        InspectorBuilder { token: Some(token), ..self }
    }

    /// Sets the context that ends the event streams when it drains or ends. Default: the background context, which never ends.
    ///
    /// Each open page receives its updates through an event stream.
    ///
    /// A graceful shutdown of the server waits until these streams have ended. Pass a context of your
    /// [`Shutdown`](ripcord::Shutdown), and the event streams end when the drain begins. With another kind of graceful shutdown,
    /// pass a context that ends when the shutdown starts. The event streams use the clock of `ctx`.
    pub fn context(self, ctx: &Context) -> Self {
        InspectorBuilder { ctx: ctx.clone(), ..self }
    }

    /// Sets the time between two updates of an open page. The minimum is 50 ms. Default: 500 ms.
    pub fn interval(self, interval: Duration) -> Self {
        InspectorBuilder { interval, ..self }
    }

    /// Sets the maximum number of running entries on the page. An entry is a request or [watched](Inspector::watch) work. Default:
    /// 100.
    ///
    /// If there are more entries, entries whose context has ended have priority, and then the oldest entries. Of the other entries,
    /// the page shows only the number.
    pub fn max_shown(self, max_shown: usize) -> Self {
        InspectorBuilder { max_shown, ..self }
    }

    /// Sets the maximum number of finished entries that the page shows for each range of latencies. An entry is a request or
    /// [watched](Inspector::watch) work. Default: 10. With 0, the page shows no finished entries.
    ///
    /// There are nine ranges, such as 10 ms to 50 ms. The inspector keeps the latest entries of each range. One more list, with the
    /// same maximum, contains the latest failed entries of all ranges. A failed entry was canceled, exceeded its deadline,
    /// panicked, or has a status of 500 or above.
    ///
    /// The range below 1 ms is an exception: it may not contain the latest entries. If more than `max_kept` entries that take less
    /// than 1 ms start within 100 ms, the inspector may skip the later ones, to save time. It never skips a failed entry.
    pub fn max_kept(self, max_kept: usize) -> Self {
        InspectorBuilder { max_kept, ..self }
    }

    /// Sets the maximum number of calls that are recorded for a request or for [watched](Inspector::watch) work. Each
    /// [span](Context::start_span) of the request or the work is a call. Of further calls, only the number is shown. Default: 256.
    pub fn max_calls(self, max_calls: usize) -> Self {
        InspectorBuilder { max_calls, ..self }
    }

    /// Creates the inspector with the settings of this builder.
    ///
    /// If a user of the page cancels a request, the error of the request's context reports the source line that called `build`.
    ///
    /// # Errors
    ///
    /// Returns an error if the [`interval`](InspectorBuilder::interval) is shorter than 50 ms. With a
    /// [`token`](InspectorBuilder::token), also returns an error if the system provides no random numbers. The inspector needs them
    /// for the cookie that it sets in browsers.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let error = Inspector::builder().interval(Duration::ZERO).build().unwrap_err();
    /// assert_eq!(error.to_string(), "inspector: interval must be at least 50ms, got 0ns");
    /// ```
    #[track_caller]
    pub fn build(self) -> Result<Inspector, BuildError> {
        let location = Location::caller();
        if self.interval < MIN_INTERVAL {
            return Err(BuildError(Reason::Interval(self.interval)));
        }
        let access = match &self.token {
            Some(token) => Access::with_token(token.clone()).map_err(|error| BuildError(Reason::Random(error)))?,
            None => Access::loopback(),
        };
        Ok(Inspector::from_settings(self, access, location))
    }
}

/// The error of [`InspectorBuilder::build`]: the interval is shorter than 50 ms, or the system provides no random numbers. An
/// inspector with a [`Token`] needs random numbers for the cookie that it sets in browsers.
#[derive(Clone, Debug)]
pub struct BuildError(Reason);

#[derive(Clone, Debug)]
enum Reason {
    Interval(Duration),
    Random(getrandom::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Reason::Interval(given) => {
                write!(f, "inspector: interval must be at least {MIN_INTERVAL:?}, got {given:?}")
            }
            Reason::Random(error) => write!(f, "inspector: a token needs random numbers: {error}"),
        }
    }
}

impl Error for BuildError {}
