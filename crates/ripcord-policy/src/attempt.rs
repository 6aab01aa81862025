//! The attempt of a retry or hedge that a context belongs to.

use std::fmt;

use ripcord::{Context, Value};

/// Tells which attempt of a [`Retry`](crate::Retry) or [`Hedge`](crate::Hedge) a context belongs to.
///
/// A retry and a hedge put an `Attempt` as a value into the context of each attempt. Nested policies read this value, so that
/// attempts do not multiply. A retry inside an attempt of another retry makes only one attempt. A hedge inside the second or a
/// later attempt of another hedge sends only one attempt.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::{Attempt, Retry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let retry = Retry::constant(Duration::ZERO).max_attempts(3).build()?;
/// let ctx = Context::background();
/// let answer = retry
///     .run(&ctx, |ctx| async move { if Attempt::number(&ctx) < 2 { Err("not yet") } else { Ok(42) } })
///     .await;
/// assert_eq!(answer.unwrap(), 42);
/// assert!(!Attempt::is_inside_retry(&ctx));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    retry: Option<u32>,
    hedge: Option<u32>,
}

impl Attempt {
    /// Returns the number of the attempt of a [`Retry`](crate::Retry) that `ctx` belongs to. The first attempt is number 0. If
    /// `ctx` belongs to no retry, the number is 0 too.
    pub fn number(ctx: &Context) -> u32 {
        Self::current(ctx).retry.unwrap_or(0)
    }

    /// Returns the number of the attempt of a [`Hedge`](crate::Hedge) that `ctx` belongs to. The first attempt is number 0. If
    /// `ctx` belongs to no hedge, the number is 0 too.
    pub fn hedge_number(ctx: &Context) -> u32 {
        Self::current(ctx).hedge.unwrap_or(0)
    }

    /// Returns whether `ctx` belongs to an attempt of a [`Retry`](crate::Retry), including the first attempt. If so, a retry
    /// that runs under `ctx` makes only one attempt.
    pub fn is_inside_retry(ctx: &Context) -> bool {
        Self::current(ctx).retry.is_some()
    }

    /// Returns a context that is derived from `ctx` and belongs to no attempt. A retry under the returned context may make
    /// several attempts.
    ///
    /// Use this method to start work that serves other callers too, such as the background task of a connection pool. Such
    /// work is not part of the attempt. The returned context still ends when `ctx` ends. If the work must continue
    /// after `ctx` ends, also call [`without_cancel`](Context::without_cancel).
    pub fn clear(ctx: &Context) -> Context {
        if Self::current(ctx) == Self::default() { ctx.clone() } else { ctx.with_value(Self::default()) }
    }

    pub(crate) fn current(ctx: &Context) -> Self {
        ctx.value::<Self>().copied().unwrap_or_default()
    }

    /// Returns the context of attempt `number` of a retry under `ctx`.
    pub(crate) fn retry(ctx: &Context, number: u32) -> Context {
        ctx.with_value(Self { retry: Some(number), ..Self::current(ctx) })
    }

    /// Returns the context of attempt `number` of a hedge under `ctx`.
    pub(crate) fn hedge(ctx: &Context, number: u32) -> Context {
        ctx.with_value(Self { hedge: Some(number), ..Self::current(ctx) })
    }
}

impl Value for Attempt {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.retry, self.hedge) {
            (None, None) => f.write_str("Attempt"),
            (Some(retry), None) => write!(f, "Attempt({retry})"),
            (None, Some(hedge)) => write!(f, "Attempt(hedge {hedge})"),
            (Some(retry), Some(hedge)) => write!(f, "Attempt({retry}, hedge {hedge})"),
        }
    }
}
