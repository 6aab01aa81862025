//! A backend's server: one route with three behaviors.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use ripcord::Context;
use ripcord_http::{
    TrustPolicy,
    inspector::Inspector,
    server::{ContextLayer, Ctx, Ended, matched_path},
};
use serde::Serialize;

use super::store::{Hit, Store};

/// Maximum time limit of a request, even if its deadline header contains more time.
const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// Duration of a search in the slow backend.
const SLOW_WORK: Duration = Duration::from_millis(1500);

/// The behavior of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behavior {
    /// Answers at once.
    Fast,
    /// Takes a second and a half.
    Slow,
    /// Fails the first of every four requests and never answers the third.
    Flaky,
}

#[derive(Clone, Debug)]
struct Backend {
    behavior: Behavior,
    store: Store,
    requests: Arc<AtomicU64>,
}

/// A backend's answer.
#[derive(Debug, Serialize)]
struct Found {
    hits: Vec<Hit>,
}

/// Returns a backend's routes. Each request has a context below `ctx`.
pub(super) fn app(ctx: &Context, behavior: Behavior, store: Store, inspector: Option<&Inspector>) -> Router {
    // Only this process knows the port, so the client is trusted.
    let layer = ContextLayer::new(ctx).name(matched_path).trust(TrustPolicy::trusted().with_max_timeout(MAX_TIMEOUT));
    let layer = match inspector {
        Some(inspector) => layer.inspector(inspector),
        None => layer,
    };
    let backend = Backend { behavior, store, requests: Arc::default() };
    Router::new().route("/search", get(search)).layer(layer).with_state(backend)
}

async fn search(Ctx(ctx): Ctx, State(backend): State<Backend>, RawQuery(query): RawQuery) -> Result<Response, Ended> {
    let query = query.unwrap_or_default();
    let Some((_, words)) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "q") else {
        return Ok((StatusCode::BAD_REQUEST, "q: expected words to search for").into_response());
    };
    let number = backend.requests.fetch_add(1, Ordering::Relaxed);
    match (backend.behavior, number % 4) {
        (Behavior::Slow, _) => ctx.sleep(SLOW_WORK).await?,
        (Behavior::Flaky, 0) => {
            return Ok((StatusCode::SERVICE_UNAVAILABLE, "this request fails on purpose").into_response());
        }
        // Simulates a lost packet: a second request is faster than waiting.
        (Behavior::Flaky, 2) => return Err(ctx.done().await.into()),
        _ => {}
    }
    match backend.store.search(&ctx, &words).await {
        Ok(hits) => Ok(Json(Found { hits }).into_response()),
        Err(error) => match error.context_error() {
            Some(end) => Err(end.clone().into()),
            None => {
                tracing::error!("The database failed: {error}");
                Ok((StatusCode::INTERNAL_SERVER_ERROR, "the database failed").into_response())
            }
        },
    }
}
