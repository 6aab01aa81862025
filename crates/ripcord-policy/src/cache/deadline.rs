//! How long the callers of a load wait for it.
//!
//! A context is immutable, and a load's would have to show a later deadline whenever a more patient caller joins. So the
//! context bears none: what it carries is a value that knows the callers' latest, and is asked anew each time.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use ripcord::{Context, Value};

use crate::sync::{Mutex, MutexGuard};

/// Until when somebody waits for the load that `ctx` belongs to: the latest of its callers' deadlines, as it is now.
///
/// None when one of them waits without end, and outside of a load. It moves when a more patient caller joins, and only ever
/// to later. A caller that is itself inside of a load counts with that load's deadline as it was when it joined. See
/// [`Cache::get_or_load`](super::Cache::get_or_load).
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::cache::{Cache, load_deadline};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = Context::background();
/// let cache: Cache<&str, bool> = Cache::builder().capacity(100).build(&app)?;
/// let ctx = app.with_timeout(Duration::from_secs(5));
///
/// let deadline = ctx.deadline();
/// let load = move |ctx: Context| async move { Ok::<_, std::io::Error>(load_deadline(&ctx) == deadline) };
/// assert!(cache.get_or_load(&ctx, "key", load).await?);
/// # Ok(())
/// # }
/// ```
pub fn load_deadline(ctx: &Context) -> Option<Instant> {
    ctx.value::<LoadDeadline>()?.known()
}

/// A context to make one call under from within a load: `ctx` with the deadline that [`load_deadline`] knows now, for what
/// has to be told a deadline, such as a request to another service.
///
/// The call is bound to it, also if a more patient caller joins the load meanwhile; what is not to be cut off so is given
/// `ctx` itself. A load that fails with that end, in its chain of sources, is not remembered as the key's failure. Outside of
/// a load, and where somebody waits without end, this is `ctx`.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::cache::{Cache, with_load_deadline};
///
/// # async fn fetch(ctx: &Context) -> Result<String, ripcord::Error> {
/// #     assert!(ctx.deadline().is_some());
/// #     Ok("gopher".to_owned())
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = Context::background();
/// let users: Cache<u64, String> = Cache::builder().capacity(100).build(&app)?;
/// let ctx = app.with_timeout(Duration::from_secs(5));
///
/// // The request bears the deadline of whoever waits longest for its answer.
/// let load = |ctx: Context| async move { fetch(&with_load_deadline(&ctx)).await };
/// assert_eq!(users.get_or_load(&ctx, 7, load).await?, "gopher");
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn with_load_deadline(ctx: &Context) -> Context {
    match load_deadline(ctx) {
        Some(deadline) => ctx.with_deadline_cause(deadline, EarlierDeadline),
        None => ctx.clone(),
    }
}

/// The cause of an end that [`with_load_deadline`] brings about, though there may be callers by then who have more time.
#[derive(Debug)]
pub(crate) struct EarlierDeadline;

impl fmt::Display for EarlierDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has passed of all who waited for the load when this call began")
    }
}

impl Error for EarlierDeadline {}

/// What is left of the context's deadline or, inside of a load, of the load's: whichever ends first.
pub(crate) fn time_left(ctx: &Context) -> Option<Duration> {
    let left = ctx.remaining();
    let Some(deadline) = load_deadline(ctx) else {
        return left;
    };
    let load_left = deadline.saturating_duration_since(ctx.clock().now());
    Some(left.map_or(load_left, |left| left.min(load_left)))
}

/// In the context of a load.
pub(super) struct LoadDeadline(Arc<Mutex<Patience>>);

impl Value for LoadDeadline {}

/// How long a caller waits, or the most patient of several; None is without end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// When it gives up by itself.
    own: Option<Instant>,
    /// When it is known to. One that is itself inside of a load is ended with that, and goes on if that goes on.
    known: Option<Instant>,
}

impl LoadDeadline {
    pub(super) fn new(first: Patience) -> Self {
        Self(Arc::new(Mutex::new(first)))
    }

    /// Another handle of the same.
    pub(super) fn share(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// A caller joins.
    pub(super) fn add(&self, caller: Patience) {
        let mut latest = self.lock();
        *latest = Patience { own: later(latest.own, caller.own), known: later(latest.known, caller.known) };
    }

    /// When the most patient caller gives up by itself.
    pub(super) fn own(&self) -> Option<Instant> {
        self.lock().own
    }

    fn known(&self) -> Option<Instant> {
        self.lock().known
    }

    fn lock(&self) -> MutexGuard<'_, Patience> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Patience {
    pub(super) fn of(ctx: &Context) -> Self {
        let own = ctx.deadline();
        let known = match (own, load_deadline(ctx)) {
            (Some(own), Some(load)) => Some(own.min(load)),
            (own, load) => own.or(load),
        };
        Self { own, known }
    }

    pub(super) fn until(deadline: Option<Instant>) -> Self {
        Self { own: deadline, known: deadline }
    }
}

fn later(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    Some(a?.max(b?))
}
