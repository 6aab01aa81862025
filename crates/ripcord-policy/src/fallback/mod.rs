//! A fallback: another answer when the first cannot be had.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ripcord::Context;

use crate::caller::end_of;
use crate::panics::BoxFuture;
use crate::stats::{Call, CallStats};
use crate::tally::Tally;
use crate::{Error, Outcome};

type Handler<T, E> = Arc<dyn Fn(Context, Error<E>) -> BoxFuture<Result<T, Error<E>>> + Send + Sync>;
type Condition<E> = Arc<dyn Fn(&Error<E>) -> bool + Send + Sync>;

/// Answers in place of a call that failed or was refused. A clone is another handle with the same statistics.
///
/// A caller whose context has ended gets its own end and no fallback: nobody is there to take it.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::fallback::Fallback;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let fallback = Fallback::value(Vec::<u32>::new()).when(|error| error.last() == Some(&"down"));
/// let ctx = Context::background();
///
/// let answer = fallback.run(&ctx, |_ctx| async { Err("down") }).await;
/// assert_eq!(answer.unwrap(), []);
/// # }
/// ```
pub struct Fallback<T, E> {
    handler: Handler<T, E>,
    condition: Option<Condition<E>>,
    tally: Arc<Tally<1>>,
}

/// Numbers of a [`Fallback`]; see [`stats`](crate::stats) for the shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackStats {
    /// Calls, and how they ended, the fallback's answer included.
    pub calls: CallStats,
    /// Times the fallback was asked.
    pub fallbacks: u64,
}

impl<T: 'static, E: 'static> Fallback<T, E> {
    /// A fallback that works the answer out. It is given the caller's context and the error, which it may return again.
    pub fn new<F, Fut>(handler: F) -> Self
    where
        F: Fn(Context, Error<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Error<E>>> + Send + 'static,
    {
        let handler: Handler<T, E> = Arc::new(move |ctx, error| Box::pin(handler(ctx, error)));
        Self { handler, condition: None, tally: Arc::new(Tally::new()) }
    }

    /// A fallback that always gives the same answer.
    pub fn value(value: T) -> Self
    where
        T: Clone + Send + Sync,
        E: Send,
    {
        Self::new(move |_, _| std::future::ready(Ok(value.clone())))
    }

    /// Which errors the fallback is for; without it, all are. A panic in it is the panic of the call it judges.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Error<E>) -> bool + Send + Sync + 'static) -> Self {
        self.condition = Some(Arc::new(condition));
        self
    }

    /// Runs a call, which is lent the context, and the fallback if that fails.
    ///
    /// # Errors
    ///
    /// The end of `ctx` when that has ended, without calling; the call's error when the fallback is not for it or
    /// `ctx` has ended since; the fallback's own error.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the call or the fallback, whichever is under way.
    pub async fn run<'a, F, Fut>(&self, ctx: &'a Context, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce(&'a Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.around(ctx, || async { call(ctx).await.map_err(Error::new) }).await
    }

    /// [`run`](Self::run) around a call whose errors are a policy's.
    pub(crate) async fn around<Fut>(&self, ctx: &Context, call: impl FnOnce() -> Fut) -> Result<T, Error<E>>
    where
        Fut: Future<Output = Result<T, Error<E>>>,
    {
        if let Some(error) = end_of(ctx) {
            self.tally.count(Call::Rejected);
            return Err(error.into());
        }
        let run = self.tally.begin();
        let mut result = call().await.map_err(|error| error.under(ctx));
        if let Err(error) = result {
            result = if !ctx.is_done() && self.condition.as_ref().is_none_or(|applies| applies(&error)) {
                self.tally.bump(0);
                (self.handler)(ctx.clone(), error).await.map_err(|error| error.under(ctx))
            } else {
                Err(error)
            };
        }
        run.end(Outcome::of(&result, Error::outcome));
        result
    }

    /// The numbers so far.
    pub fn stats(&self) -> FallbackStats {
        let [fallbacks] = self.tally.read();
        FallbackStats { calls: self.tally.calls(), fallbacks }
    }
}

impl<T, E> Clone for Fallback<T, E> {
    fn clone(&self) -> Self {
        Self { handler: Arc::clone(&self.handler), condition: self.condition.clone(), tally: Arc::clone(&self.tally) }
    }
}

impl<T, E> fmt::Debug for Fallback<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback").field("stats", &self.tally).finish_non_exhaustive()
    }
}
