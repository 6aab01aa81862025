//! A backend's server: one route, in three manners.

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
    server::{ContextLayer, Ctx, Ended, matched_path},
};
use serde::Serialize;

use super::store::{Error, Hit, Store};

/// How long a backend lets a request take, whatever that asks for.
const LONGEST: Duration = Duration::from_secs(30);

/// How long the slow one takes.
const SLOW: Duration = Duration::from_millis(1500);

/// How a backend behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// It answers at once.
    Fast,
    /// It takes a second and a half.
    Slow,
    /// Of every four requests it fails the first and never answers the third.
    Flaky,
}

#[derive(Clone, Debug)]
struct Backend {
    manner: Manner,
    store: Store,
    requests: Arc<AtomicU64>,
}

/// What a backend answers.
#[derive(Debug, Serialize)]
struct Found {
    hits: Vec<Hit>,
}

/// A backend's routes, every request with a Context below `ctx`.
pub(super) fn app(ctx: &Context, manner: Manner, store: Store) -> Router {
    // Only this process knows its port, and its own service is what asks.
    let layer = ContextLayer::new(ctx).name(matched_path).trust(TrustPolicy::trusted().with_max_timeout(LONGEST));
    let backend = Backend { manner, store, requests: Arc::default() };
    Router::new().route("/search", get(search)).layer(layer).with_state(backend)
}

async fn search(Ctx(ctx): Ctx, State(backend): State<Backend>, RawQuery(query): RawQuery) -> Result<Response, Ended> {
    let query = query.unwrap_or_default();
    let Some((_, words)) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "q") else {
        return Ok((StatusCode::BAD_REQUEST, "q: expected words to search for").into_response());
    };
    let number = backend.requests.fetch_add(1, Ordering::Relaxed);
    match (backend.manner, number % 4) {
        (Manner::Slow, _) => ctx.sleep(SLOW).await?,
        (Manner::Flaky, 0) => return Ok((StatusCode::SERVICE_UNAVAILABLE, "out of luck").into_response()),
        // As if a packet were lost: whoever asks again has an answer sooner than who waits.
        (Manner::Flaky, 2) => return Err(ctx.done().await.into()),
        _ => {}
    }
    match backend.store.search(&ctx, &words).await {
        Ok(hits) => Ok(Json(Found { hits }).into_response()),
        Err(Error::Ended(error)) => Err(error.into()),
        Err(Error::Failed(message)) => Ok((StatusCode::INTERNAL_SERVER_ERROR, message).into_response()),
    }
}
