//! Asks several search backends at once, and returns the hits that arrive before the deadline.
//!
//! The search follows the article "Go Concurrency Patterns: Context", which introduced Go's package. The handler derives one
//! context with the time limit of the search. The code below the handler has no timeouts and does not watch the client:
//!
//! ```text
//! GET /search                 the request's context: its client, the server's shutdown, the server's timeout
//! └─ timeout                  the client's limit, if that is less
//!    ├─ backend fast          cache ─ retry ─ hedge ─ breaker ─ limiter ─ bulkhead ─ attempt timeout ─ HTTP
//!    ├─ backend slow          the same
//!    └─ backend flaky         the same
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `query.rs` | the query: `q` and `timeout` |
//! | `backend.rs` | a backend with its policies |
//! | `policies.rs` | the policies' settings |
//! | `call.rs` | one request to a backend |
//! | `answer.rs` | the answer as JSON, and its status |
//! | `page.rs` | the answer as a page |

mod answer;
mod backend;
mod call;
mod page;
mod policies;
mod query;

use std::{collections::HashSet, sync::Arc};

use axum::{
    extract::{FromRef, RawQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use futures_util::{
    FutureExt as _,
    stream::{FuturesUnordered, StreamExt as _},
};
use ripcord::Context;
use ripcord_http::server::Ctx;
use ripcord_policy::ConfigError;

pub use self::{
    answer::{Answer, BackendOutcome, Report},
    backend::Backend,
    policies::{Policies, Sharing},
    query::{BadQuery, Query},
};
use crate::html::wants_page;

/// Searches several backends at once. Clones share the backends.
#[derive(Clone, Debug)]
pub struct Search {
    backends: Arc<[Backend]>,
}

impl Search {
    /// Creates a search that sends each query to all of `backends`.
    ///
    /// # Errors
    ///
    /// Returns an error if two backends have the same name.
    pub fn new(backends: impl IntoIterator<Item = Backend>) -> Result<Search, ConfigError> {
        let backends: Arc<[Backend]> = backends.into_iter().collect();
        let mut names = HashSet::new();
        match backends.iter().find(|backend| !names.insert(backend.name())) {
            Some(twice) => Err(ConfigError::new("backends", "given once each", format!("{} twice", twice.name()))),
            None => Ok(Search { backends }),
        }
    }

    /// Returns the backends.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Sends `query` to every backend and waits until all backends have answered. If `ctx` ends first, returns the hits that have
    /// arrived by then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the requests to the backends.
    pub async fn run(&self, ctx: &Context, query: &Query) -> Answer {
        let (ctx, trace) = ctx.start_span("search");
        let started = ctx.clock().now();
        let mut reports: Vec<_> = self.backends.iter().map(|backend| Report::begin(backend.name())).collect();
        {
            // The requests run in this task, not in spawned tasks, so that they are dropped with this future.
            let mut asked = FuturesUnordered::new();
            for (at, (backend, report)) in self.backends.iter().zip(&reports).enumerate() {
                let found = backend.ask(&ctx.with_value(report.requests.clone()), &query.words);
                asked.push(async move { (at, found.await) });
            }
            // Each request also ends with the context, but perhaps not in this poll. There may be no later poll, because the HTTP
            // request may end at the same time.
            while let Ok(Some((at, found))) = ctx.run(asked.next()).await {
                reports[at].end(found);
            }
            // Answers that are ready at the deadline count.
            while let Some(Some((at, found))) = asked.next().now_or_never() {
                reports[at].end(found);
            }
        }
        let took = ctx.clock().now().saturating_duration_since(started);
        if let Some(error) = ctx.err() {
            reports.iter_mut().for_each(|report| report.cut_short(&error, took));
        }
        Answer::new(&ctx, query, reports, took, &trace.end())
    }
}

/// `/search`
pub(crate) async fn handler<S>(
    Ctx(ctx): Ctx,
    State(search): State<Search>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response
where
    Search: FromRef<S>,
{
    let query = match Query::parse(query.as_deref().unwrap_or_default()) {
        Ok(query) => query,
        Err(error) => return error.into_response(),
    };
    // The query can only shorten the server's limit, because the earlier deadline counts.
    let ctx = match query.timeout() {
        Some(timeout) => ctx.with_timeout(timeout),
        None => ctx,
    };
    let answer = search.run(&ctx, &query).await;
    answer.log_failures();
    match wants_page(&headers) {
        true => page::page(&answer),
        false => answer.into_response(),
    }
}
