//! A backend with its policies.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, Url};
use ripcord::Context;
use ripcord_http::inspector::Inspector;
use ripcord_policy::{
    Bulkhead, Cache, CircuitBreaker, ConfigError, Error, Hedge, Jitter, Outcome, Rate, RateLimiter, Retry, RetryBudget,
    Stack, cache,
};
use ripcord_redis::{CacheLevel, Limiter};

use super::{
    Policies, Sharing,
    answer::Requests,
    call::{Failure, call},
};
use crate::backends::Hit;

/// Maximum wait before the first retry. The maximum doubles with each retry.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Maximum number of concurrent requests to one backend.
const AT_ONCE: usize = 64;

pub(super) type Hits = Arc<[Hit]>;

/// A backend of the search, with its policies. Clones share the policies.
#[derive(Clone, Debug)]
pub struct Backend {
    name: Arc<str>,
    url: Url,
    client: Client,
    stack: Stack<Hits, Failure, Arc<str>>,
    /// The limiter of all services. `None` if the limiter is this service's own.
    shared_limiter: Option<Limiter>,
}

/// The result of a search in one backend.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) took: Duration,
    pub(super) result: Result<cache::Found<Hits>, Error<Failure>>,
}

impl Backend {
    /// Creates a backend that sends searches to `url` with `client`. `name` is the name in answers and metrics. The URL must have
    /// no query. Call this function inside a tokio runtime.
    ///
    /// The policies of the backend use the clock of `ctx`. The cache of the backend closes when `ctx` ends. With `sharing`, backends
    /// with the same name in other services share the state of the policies.
    ///
    /// # Errors
    ///
    /// Returns an error if a policy's setting is out of bounds.
    pub fn new(
        ctx: &Context,
        name: &str,
        url: Url,
        client: &Client,
        policies: &Policies,
        sharing: Option<&Sharing>,
    ) -> Result<Backend, ConfigError> {
        let hedge = policies.hedge_after.filter(|after| *after < policies.attempt_timeout);
        let mut cache =
            Cache::builder().capacity(policies.cache_capacity.into()).ttl(policies.cache_ttl).ttl_jitter(0.1);
        let mut breaker = CircuitBreaker::builder(name.to_owned());
        let mut limiter = RateLimiter::builder();
        let mut shared_limiter = None;
        if let Some(Sharing { client, on_outage, breakers }) = sharing {
            cache = cache.second_level(CacheLevel::builder(client, name).build().map_err(invalid_name)?);
            breaker = breaker.shared(breakers.clone());
            limiter = limiter.backend(shared_limiter.insert(Limiter::new(client, name, *on_outage)).clone());
        }
        let stack = Stack::builder()
            .clock(ctx.clock())
            .cache(cache.build(ctx)?)
            .retry(
                Retry::builder()
                    .max_attempts(policies.retry_attempts)
                    .base(FIRST_WAIT.min(policies.attempt_timeout))
                    .jitter(Jitter::Full)
                    .retry_if(Failure::is_transient)
                    .retry_after(Failure::retry_after)
                    // In an outage, the budget ends the retries and hedges of all searches.
                    .budget(Arc::new(RetryBudget::new())),
            )
            // A lost packet costs a second. A second request is faster. With a closure, causes name this line.
            .hedge(hedge.map(|delay| Hedge::builder().delay(delay)))
            .breaker(
                breaker
                    .consecutive_failures(policies.breaker_failures)
                    .open_for(policies.breaker_open_for)
                    .classify(|result: &_| Outcome::new(result, Failure::outcome)),
            )
            .limiter(limiter.rate(Rate::per_second(policies.limiter_rate)).burst(policies.limiter_burst))
            .bulkhead(Bulkhead::builder().limit(AT_ONCE).queue(AT_ONCE))
            .attempt_timeout(policies.attempt_timeout)
            .build()?;
        Ok(Backend { name: name.into(), url, client: client.clone(), stack, shared_limiter })
    }

    /// Returns the name of the backend.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shows on the page of `inspector` where the shared limiter decides: in Redis, or without Redis.
    pub(crate) fn show_limiter(&self, inspector: &Inspector) {
        if let Some(limiter) = self.shared_limiter.clone() {
            inspector.show_status(&format!("limiter {}", self.name), move || limiter.stats().mode);
        }
    }

    pub(crate) fn stack(&self) -> &Stack<Hits, Failure, Arc<str>> {
        &self.stack
    }

    /// Searches for `words` in the cache or the backend. Counts each sent request in the context's [`Requests`].
    pub(super) fn ask(&self, ctx: &Context, words: &Arc<str>) -> impl Future<Output = Found> + use<> {
        let (ctx, span) = ctx.start_span(format!("backend {}", self.name));
        let (backend, words) = (self.clone(), Arc::clone(words));
        async move {
            let (stack, key) = (backend.stack.clone(), Arc::clone(&words));
            // The request is owned, because all searches for these words share the request. The request may outlive this search.
            let request = move |ctx| backend.clone().request(ctx, Arc::clone(&words));
            let result = stack.find_keyed(&ctx, key, request).await;
            Found { took: span.end().duration(), result }
        }
    }

    /// Sends one request. The request carries the time left of the search with the latest deadline.
    async fn request(self, ctx: Context, words: Arc<str>) -> Result<Hits, Failure> {
        // A shared request has the values of the search that started the request.
        let number = ctx.value().map_or(1, Requests::count_one);
        let (ctx, _span) = ctx.start_span(format!("request {number} to {}", self.name));
        call(&self.client, &self.url, &words, &ctx).await
    }
}

/// Only the name of the second level can be invalid: it must have no braces.
fn invalid_name(error: ripcord_redis::Error) -> ConfigError {
    let error = error.config_error().cloned();
    error.unwrap_or_else(|| ConfigError::new("backends", "a name for the cache", "another text"))
}
