//! Searches that run later, on any service of the fleet.

use std::time::Duration;

use axum::{
    Json,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ripcord::Context;
use ripcord_http::server::Ctx;
use ripcord_policy::Retry;
use ripcord_redis::{Client, Error, Queue, QueueStats};
use serde::{Deserialize, Serialize};

use super::Service;
use crate::search::{Query, Search};

/// The time from the submission of a job to its deadline.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum number of jobs that a service runs at the same time.
const CONCURRENCY: usize = 4;

/// The queue of searches that all services of a fleet share.
#[derive(Clone, Debug)]
pub(super) struct Jobs {
    queue: Queue<Job>,
}

/// A search, as a query string.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    query: String,
}

#[derive(Serialize)]
struct Queued {
    job: String,
}

impl Jobs {
    /// Creates the queue in the Redis of `client`.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting of the queue is invalid.
    pub(super) fn new(client: &Client) -> Result<Jobs, Error> {
        Ok(Jobs { queue: Queue::builder("searches").client(client).build()? })
    }

    /// Runs jobs until `ctx` ends or drains. A search without any answer is retried.
    pub(super) async fn work(&self, ctx: &Context, search: Search) {
        let retry = Retry::builder().max_attempts(3).build().expect("the settings are within their bounds");
        let work = self.queue.worker().concurrency(CONCURRENCY).retry(retry).run(ctx, move |ctx, job: Job| {
            let search = search.clone();
            async move { run(&ctx, &search, &job).await }
        });
        if let Err(error) = work.await
            && error.context_error().is_none()
        {
            tracing::warn!("No more jobs are run: {error}");
        }
    }

    pub(super) async fn stats(&self, ctx: &Context) -> Result<QueueStats, Error> {
        self.queue.stats(ctx).await
    }
}

async fn run(ctx: &Context, search: &Search, job: &Job) -> Result<(), String> {
    let query = Query::parse(&job.query).map_err(|error| error.to_string())?;
    let status = search.run(ctx, &query).await.status();
    match status == StatusCode::OK {
        true => {
            tracing::info!(words = query.words(), "Job done");
            Ok(())
        }
        false => Err(format!("the search ended with status {status}")),
    }
}

/// Handles `POST /jobs`: queues a search.
pub(super) async fn submit(State(service): State<Service>, Ctx(ctx): Ctx, RawQuery(query): RawQuery) -> Response {
    let Some(jobs) = service.jobs() else {
        return (StatusCode::NOT_FOUND, "Jobs need --redis.\n").into_response();
    };
    let query = query.unwrap_or_default();
    if let Err(error) = Query::parse(&query) {
        return error.into_response();
    }
    match jobs.queue.job(Job { query }).timeout(TIMEOUT).submit(&ctx).await {
        Ok(id) => (StatusCode::ACCEPTED, Json(Queued { job: id.to_string() })).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}
