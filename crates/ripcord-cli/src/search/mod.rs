//! A search that asks several backends at once, and answers with what came in before the deadline.
//!
//! After the article that introduced Go's package, "Go Concurrency Patterns: Context". A request's Context is derived
//! once, with the time that the search has; from there on nothing has a timeout of its own to keep or a client to watch:
//!
//! ```text
//! GET /search                 the request's Context: its client, the server's shutdown, the server's timeout
//! └─ timeout                  what the client allows, if that is less
//!    ├─ backend fast          cache ─ retry ─ hedge ─ breaker ─ limiter ─ bulkhead ─ attempt timeout ─ HTTP
//!    ├─ backend slow          the same
//!    └─ backend flaky         the same
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `query.rs` | what was asked for: `q` and `timeout` |
//! | `backend.rs` | a backend, behind its policies |
//! | `policies.rs` | what is set of those |
//! | `call.rs` | one request to a backend |
//! | `answer.rs` | what came in: the JSON's shape, and the status |
//! | `page.rs` | the same for a browser |

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
    answer::{Answer, Outcome, Report},
    backend::{Backend, Source},
    policies::Policies,
    query::{BadQuery, Query},
};
use crate::html::wants_page;

/// The backends to ask. A clone asks the same ones.
#[derive(Clone, Debug)]
pub struct Search {
    backends: Arc<[Backend]>,
}

impl Search {
    /// A search that asks all of `backends`.
    ///
    /// # Errors
    ///
    /// When two of them have the same name: nobody could tell them apart.
    pub fn new(backends: impl IntoIterator<Item = Backend>) -> Result<Search, ConfigError> {
        let backends: Arc<[Backend]> = backends.into_iter().collect();
        let mut names = HashSet::new();
        match backends.iter().find(|backend| !names.insert(backend.name())) {
            Some(twice) => Err(ConfigError::new("backends", "given once each", format!("{} twice", twice.name()))),
            None => Ok(Search { backends }),
        }
    }

    /// The backends, for their figures.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Asks every backend for `query`, and returns when all have answered or `ctx` has ended.
    ///
    /// What is there at that moment is in the answer. Dropping the future ends what it asked for.
    pub async fn run(&self, ctx: &Context, query: &Query) -> Answer {
        let (ctx, trace) = ctx.start_trace("search");
        let begun = ctx.clock().now();
        let mut reports: Vec<_> = self.backends.iter().map(|backend| Report::begin(backend.name())).collect();
        {
            // In this task and not in tasks of their own, so that they are gone when this is.
            let mut asked = FuturesUnordered::new();
            for (at, (backend, report)) in self.backends.iter().zip(&reports).enumerate() {
                let found = backend.ask(&ctx, &query.words, report.requests());
                asked.push(async move { (at, found.await) });
            }
            // At the end of the Context each of them ends by itself, but perhaps not all in this one poll; and there may
            // not be another, since this can also be the end of the request.
            while let Ok(Some((at, found))) = ctx.run(asked.next()).await {
                reports[at].end(found);
            }
            // One that is there at the deadline counts, also when another came at the same moment: a Context that has ended
            // asks for nothing more.
            while let Some(Some((at, found))) = asked.next().now_or_never() {
                reports[at].end(found);
            }
        }
        let took = ctx.clock().now().saturating_duration_since(begun);
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
    // It can only shorten what the server allows: of two deadlines the earlier counts.
    let ctx = match query.timeout() {
        Some(timeout) => ctx.with_timeout(timeout),
        None => ctx,
    };
    let answer = search.run(&ctx, &query).await;
    match wants_page(&headers) {
        true => page::page(&answer),
        false => answer.into_response(),
    }
}
