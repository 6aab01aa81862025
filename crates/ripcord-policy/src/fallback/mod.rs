//! Returns another value when a call fails. See [`Fallback`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ripcord::Context;

use crate::panics::BoxFuture;
use crate::stats::CallStats;
use crate::tally::Tally;
use crate::{ConfigError, Error};

type Handler<T, E> = Arc<dyn Fn(Context, Error<E>) -> BoxFuture<Result<T, Error<E>>> + Send + Sync>;
type Condition<E> = Arc<dyn Fn(&Error<E>) -> bool + Send + Sync>;

/// Returns another value when a call fails.
///
/// ```
/// use ripcord::Context;
/// use ripcord_policy::Fallback;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let fallback = Fallback::value(Vec::<u32>::new());
/// let ctx = Context::background();
///
/// let answer = fallback.run(&ctx, |_ctx| async { Err("down") }).await;
/// assert_eq!(answer.unwrap(), []);
/// # }
/// ```
///
/// The *fallback* is a value, or a function called the handler. If the caller's context has been canceled or its deadline has
/// passed, the fallback is not used, and the caller gets the error of the context.
///
/// # Methods
///
/// Create a fallback with [`value`](Fallback::value) or [`new`](Fallback::new). Use [`builder`](Fallback::builder) to create a
/// fallback for some errors only. Make calls with [`run`](Fallback::run), and read the statistics with
/// [`stats`](Fallback::stats).
///
/// Clones share their statistics.
pub struct Fallback<T, E> {
    handler: Handler<T, E>,
    condition: Option<Condition<E>>,
    tally: Arc<Tally<1>>,
}

/// Builds a [`Fallback`]. Create the builder with [`Fallback::builder`]. Set either a [`handler`](Self::handler) or a
/// [`value`](Self::value). If both are set, the later setting counts.
#[must_use = "a builder does nothing until it is built"]
pub struct FallbackBuilder<T, E> {
    handler: Option<Handler<T, E>>,
    condition: Option<Condition<E>>,
}

/// Statistics of a [`Fallback`]. The module [`stats`](crate::stats) describes counters and gauges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackStats {
    /// The calls by result. A call succeeds if the call itself or the fallback returned a value.
    pub calls: CallStats,
    /// Calls that failed and for which the fallback ran, with or without success.
    pub fallbacks: u64,
}

impl<T: 'static, E: 'static> Fallback<T, E> {
    /// Creates a builder. A [`handler`](FallbackBuilder::handler) or a [`value`](FallbackBuilder::value) is required.
    pub fn builder() -> FallbackBuilder<T, E> {
        FallbackBuilder { handler: None, condition: None }
    }

    /// Creates a fallback that runs `handler` when a call fails with any error. If the caller's context has ended, the
    /// handler does not run, and the caller gets the error of the context.
    ///
    /// `handler` gets the context passed to [`run`](Fallback::run) and the error of the call. It returns a value, or an error:
    /// the same error or another one.
    pub fn new<F, Fut>(handler: F) -> Self
    where
        F: Fn(Context, Error<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Error<E>>> + Send + 'static,
    {
        Self { handler: boxed(handler), condition: None, tally: Arc::new(Tally::new()) }
    }

    /// Creates a fallback that returns a clone of `value` when a call fails with any error. If the caller's context has
    /// ended, the caller gets the error of the context instead.
    pub fn value(value: T) -> Self
    where
        T: Clone + Send + Sync,
        E: Send,
    {
        Self::new(move |_, _| std::future::ready(Ok(value.clone())))
    }

    /// Makes a call. `call` gets a clone of `ctx`. If the call fails and `ctx` has not ended, returns the value of the
    /// fallback, or runs the handler and returns its result.
    ///
    /// If `ctx` ends, a running call or handler is not dropped. The call and the handler must observe the context that they
    /// get. If the call or the handler succeeds, its value is returned even if `ctx` has ended meanwhile.
    ///
    /// # Errors
    ///
    /// * `ctx` was canceled or its deadline passed before the call, during a call that failed, or during a handler that failed
    ///   ([`Error::context_error`]). The error of the call or the handler, if any, is the source.
    /// * The call failed, and the condition set with [`FallbackBuilder::when`] returned `false` for the error. The error of the
    ///   call is returned.
    /// * The handler returned an error.
    ///
    /// # Panics
    ///
    /// Passes on a panic of the call, of the handler or of the condition. The panic counts as a failure.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the running call or handler.
    pub async fn run<F, Fut>(&self, ctx: &Context, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run_over(ctx, || call(ctx.clone()), Error::new).await
    }

    /// Does the same as [`run`](Self::run) for a call whose error becomes the error of a policy by `convert`.
    pub(crate) fn run_over<X, Fut>(
        &self,
        ctx: &Context,
        call: impl FnOnce() -> Fut,
        convert: fn(X) -> Error<E>,
    ) -> impl Future<Output = Result<T, Error<E>>>
    where
        Fut: Future<Output = Result<T, X>>,
    {
        self.tally.call(ctx, Error::from, move || self.answer(ctx, call, convert))
    }

    async fn answer<X, Fut>(
        &self,
        ctx: &Context,
        call: impl FnOnce() -> Fut,
        convert: fn(X) -> Error<E>,
    ) -> Result<T, Error<E>>
    where
        Fut: Future<Output = Result<T, X>>,
    {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => convert(error).under(ctx),
        };
        if ctx.err().is_some() || self.condition.as_ref().is_some_and(|applies| !applies(&error)) {
            return Err(error);
        }
        self.tally.bump(0);
        (self.handler)(ctx.clone(), error).await.map_err(|error| error.under(ctx))
    }

    /// Returns the statistics of this fallback and its clones.
    pub fn stats(&self) -> FallbackStats {
        let [fallbacks] = self.tally.read();
        FallbackStats { calls: self.tally.calls(), fallbacks }
    }
}

impl<T: 'static, E: 'static> FallbackBuilder<T, E> {
    /// Sets the function that runs when a call fails. Replaces a [`value`](Self::value) that was set before.
    ///
    /// `handler` gets the context passed to [`Fallback::run`] and the error of the call. It returns a value, or an error: the
    /// same error or another one.
    pub fn handler<F, Fut>(mut self, handler: F) -> Self
    where
        F: Fn(Context, Error<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, Error<E>>> + Send + 'static,
    {
        self.handler = Some(boxed(handler));
        self
    }

    /// Sets the value that is returned when a call fails. Each failed call returns a clone of `value`. Replaces a
    /// [`handler`](Self::handler) that was set before.
    pub fn value(self, value: T) -> Self
    where
        T: Clone + Send + Sync,
        E: Send,
    {
        self.handler(move |_, _| std::future::ready(Ok(value.clone())))
    }

    /// Sets a function that returns whether the fallback runs for the given error. If `condition` returns `false`, the caller
    /// gets the error of the call. Default: the fallback runs for every error. If the caller's context has ended, the fallback
    /// never runs, and `condition` is not called.
    ///
    /// A panic of `condition` goes to the caller of [`Fallback::run`].
    pub fn when(mut self, condition: impl Fn(&Error<E>) -> bool + Send + Sync + 'static) -> Self {
        self.condition = Some(Arc::new(condition));
        self
    }

    /// Builds the fallback.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if neither a handler nor a value is set.
    pub fn build(self) -> Result<Fallback<T, E>, ConfigError> {
        let handler = self.handler.ok_or_else(|| ConfigError::new("handler", "set", "nothing"))?;
        Ok(Fallback { handler, condition: self.condition, tally: Arc::new(Tally::new()) })
    }
}

fn boxed<T, E, F, Fut>(handler: F) -> Handler<T, E>
where
    F: Fn(Context, Error<E>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, Error<E>>> + Send + 'static,
{
    Arc::new(move |ctx, error| Box::pin(handler(ctx, error)))
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

impl<T, E> fmt::Debug for FallbackBuilder<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackBuilder").finish_non_exhaustive()
    }
}
