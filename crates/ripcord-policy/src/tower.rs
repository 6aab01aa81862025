//! Wraps [tower] services in policies. See [`PolicyLayer`].
//!
//! [tower]: https://docs.rs/tower

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use ripcord::Context;
use tower_layer::Layer;
use tower_service::Service;

use crate::breaker::Classify;
use crate::{Bulkhead, CircuitBreaker, Error, Fallback, Hedge, RateLimiter, Retry, Stack};

/// A [tower](https://docs.rs/tower) layer that wraps a service in a policy. Create the layer with [`new`](PolicyLayer::new).
///
/// Each request must contain a [`Context`]. The second argument of [`new`](PolicyLayer::new) is a function that returns a
/// mutable reference to this context. The layer runs the policy under this context. Before the layer sends a request to the
/// wrapped service, it replaces the context in the request with the context of the attempt. For `http::Request`, pass the
/// function `ripcord_http::request_context`.
///
/// ```
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_policy::tower::PolicyLayer;
/// use ripcord_policy::{Attempt, CircuitBreaker, Retry};
/// use tower::{Service, ServiceBuilder, service_fn};
///
/// #[derive(Clone)]
/// struct Request {
///     ctx: Context,
///     user: u64,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let retry = Retry::constant(Duration::ZERO).max_attempts(3).build()?;
/// let breaker = CircuitBreaker::builder("users").consecutive_failures(5).build()?;
///
/// let mut users = ServiceBuilder::new()
///     .layer(PolicyLayer::new(retry.clone(), |request: &mut Request| &mut request.ctx))
///     .service(service_fn(|request: Request| async move {
///         match Attempt::number(&request.ctx) {
///             0 => Err("connection refused"),
///             _ => Ok(format!("user {}", request.user)),
///         }
///     }));
///
/// let ctx = Context::background().with_timeout(Duration::from_secs(5));
/// assert_eq!(users.call(Request { ctx, user: 7 }).await.unwrap(), "user 7");
/// assert_eq!(retry.stats().retries, 1);
///
/// // A breaker in front of the same service.
/// let mut users = ServiceBuilder::new()
///     .layer(PolicyLayer::new(breaker, |request: &mut Request| &mut request.ctx))
///     .service(service_fn(|_request: Request| async { Err::<(), _>("connection refused") }));
/// let error = users.call(Request { ctx: Context::background(), user: 7 }).await.unwrap_err();
/// assert_eq!(error.last(), Some(&"connection refused"));
/// # Ok(())
/// # }
/// ```
///
/// # Which policies
///
/// | policy | effect on each request | required traits |
/// |---|---|---|
/// | [`CircuitBreaker`] | is sent, or refused while the breaker is open | |
/// | [`RateLimiter`] | waits for a token | |
/// | [`Bulkhead`] | waits for a permit | |
/// | [`Fallback`] | is answered with the value of the fallback if the service fails | |
/// | [`Retry`] | is sent again after a failure | `Clone` of requests |
/// | [`Hedge`] | is sent again while it is slow | `Clone` of requests |
/// | [`Stack`] | goes through all layers except the cache | `Clone` of requests; `Sync` of requests, responses and the service |
///
/// To use several policies around one service, use a [`Stack`]. A stack runs the policies in the right order, and its retry
/// distinguishes refusals by the other policies from failures of the service. If you put a retry layer around a breaker
/// layer instead, build the retry with [`over_policies`](crate::retry::RetryBuilder::over_policies). Otherwise the retry
/// treats the breaker's refusals like failures of the service.
///
/// If the context of a request ends while the wrapped service handles the request, the effect depends on the policy: see
/// [Running calls](crate#running-calls).
///
/// The other policies cannot be layers. A [`Cache`](crate::Cache), a [`KeyedLimiter`](crate::KeyedLimiter) and a
/// [`KeyedCircuitBreaker`](crate::KeyedCircuitBreaker) need a key, which only your handler knows. A
/// [`WorkerPool`](crate::WorkerPool) runs jobs.
///
/// # Errors
///
/// The layer's service returns the same [`Error`] as the policy's method `run`. [`Error::last`] is the error of the wrapped
/// service.
///
/// # Readiness
///
/// `poll_ready` of the layer's service always returns ready. Each attempt waits inside the policy until a clone of the wrapped
/// service is ready. This wait counts as part of the attempt. A request that waits for a token or a permit does not occupy the
/// wrapped service.
///
/// # Cancel safety
///
/// Dropping the future of the response drops the attempts in flight, and releases their breaker probes, bulkhead permits and
/// unspent limiter tokens.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put on a service"]
pub struct PolicyLayer<P, X> {
    policy: P,
    context: X,
}

impl<P, X> PolicyLayer<P, X> {
    /// Creates a layer that runs `policy` around each request. `context` is a function that returns a mutable reference to
    /// the [`Context`] in a request. The layer reads this context, and replaces it with the context of the attempt.
    pub fn new<R>(policy: P, context: X) -> Self
    where
        X: Fn(&mut R) -> &mut Context,
    {
        PolicyLayer { policy, context }
    }
}

impl<S, P: Clone, X: Clone> Layer<S> for PolicyLayer<P, X> {
    type Service = PolicyService<S, P, X>;

    fn layer(&self, service: S) -> Self::Service {
        PolicyService { service, policy: self.policy.clone(), context: self.context.clone() }
    }
}

impl<P: fmt::Debug, X> fmt::Debug for PolicyLayer<P, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyLayer").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// A tower service wrapped in a policy. Created by the [`PolicyLayer`], for example in a `tower::ServiceBuilder`.
#[derive(Clone)]
pub struct PolicyService<S, P, X> {
    service: S,
    policy: P,
    context: X,
}

impl<S, P, X, R> Service<R> for PolicyService<S, P, X>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    P: Policy<S, R>,
    X: Fn(&mut R) -> &mut Context + Clone + Send + Sync + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = ResponseFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: R) -> Self::Future {
        let ctx = (self.context)(&mut request).clone();
        let call = Call { service: self.service.clone(), request, context: self.context.clone() };
        ResponseFuture(self.policy.clone().call(ctx, call))
    }
}

impl<S: fmt::Debug, P: fmt::Debug, X> fmt::Debug for PolicyService<S, P, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PolicyService");
        debug.field("service", &self.service).field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// The future of the response of a [`PolicyService`]. Returned by the method `call` of the service. Its output is the
/// response, or an [`Error`].
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T, E>(Outcome<T, E>);

type Outcome<T, E> = Pin<Box<dyn Future<Output = Result<T, Error<E>>> + Send>>;

impl<T, E> Future for ResponseFuture<T, E> {
    type Output = Result<T, Error<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T, E> fmt::Debug for ResponseFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// A policy that a [`PolicyLayer`] can run around the service `S`, which accepts requests of the type `R`. The trait is sealed:
/// only policies of this crate implement it. See [Which policies](PolicyLayer#which-policies).
pub trait Policy<S: Service<R>, R>: Clone + sealed::Sealed {
    /// Runs `call` under the policy.
    #[doc(hidden)]
    fn call<X>(self, ctx: Context, call: Call<S, R, X>) -> Outcome<S::Response, S::Error>
    where
        X: Fn(&mut R) -> &mut Context + Clone + Send + Sync + 'static;
}

/// A request to be sent to a service.
#[doc(hidden)]
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "hidden")]
pub struct Call<S, R, X> {
    service: S,
    request: R,
    context: X,
}

impl<S, R, X> Call<S, R, X>
where
    S: Service<R>,
    X: Fn(&mut R) -> &mut Context,
{
    /// Sends the request with the attempt's context.
    async fn send(mut self, ctx: Context) -> Result<S::Response, S::Error> {
        *(self.context)(&mut self.request) = ctx;
        poll_fn(|task| self.service.poll_ready(task)).await?;
        self.service.call(self.request).await
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Implements [`Policy`]. Takes the policy's type, its bounds, and the code that runs a call.
macro_rules! policy {
    ([$($parameter:ident),*] $policy:ty, where [$($needs:tt)*], |$this:ident, $ctx:ident, $call:ident| $run:expr) => {
        impl<S, R, $($parameter),*> Policy<S, R> for $policy
        where
            S: Service<R> + Send + 'static,
            S::Future: Send,
            S::Response: Send + 'static,
            S::Error: Send + 'static,
            R: Send + 'static,
            $($needs)*
        {
            fn call<X>(self, $ctx: Context, $call: Call<S, R, X>) -> Outcome<S::Response, S::Error>
            where
                X: Fn(&mut R) -> &mut Context + Clone + Send + Sync + 'static,
            {
                let $this = self;
                Box::pin(async move { $run })
            }
        }
    };
}

impl<C> sealed::Sealed for CircuitBreaker<C> {}
impl sealed::Sealed for RateLimiter {}
impl sealed::Sealed for Bulkhead {}
impl<T, E> sealed::Sealed for Fallback<T, E> {}
impl<E> sealed::Sealed for Retry<E> {}
impl sealed::Sealed for Hedge {}
impl<T, E, K> sealed::Sealed for Stack<T, E, K> {}

policy!([C] CircuitBreaker<C>, where [C: Classify<S::Response, S::Error> + Clone + Send + Sync + 'static], |breaker, ctx, call| {
    breaker.run(&ctx, |ctx| call.send(ctx)).await
});
policy!([] RateLimiter, where [], |limiter, ctx, call| {
    limiter.wait(&ctx).await?;
    call.send(ctx.clone()).await.map_err(|error| Error::new(error).under(&ctx))
});
policy!([] Bulkhead, where [], |bulkhead, ctx, call| bulkhead.run(&ctx, |ctx| call.send(ctx)).await);
policy!([] Fallback<S::Response, S::Error>, where [], |fallback, ctx, call| {
    fallback.run(&ctx, |ctx| call.send(ctx)).await
});
policy!([] Retry<S::Error>, where [S: Clone, R: Clone], |retry, ctx, call| {
    retry.run(&ctx, move |ctx| call.clone().send(ctx)).await
});
policy!([] Hedge, where [S: Clone, R: Clone], |hedge, ctx, call| hedge.run(&ctx, move |ctx| call.clone().send(ctx)).await);
policy!([K] Stack<S::Response, S::Error, K>, where [S: Clone + Sync, S::Response: Sync, R: Clone + Sync, K: Send + Sync + 'static], |stack, ctx, call| {
    stack.run(&ctx, move |ctx| call.clone().send(ctx)).await
});
