//! What the service answers.
//!
//! A handler takes its request's [`Context`] and passes it to whatever takes time. When that says the Context has
//! ended, `?` is all there is to do: [`Ended`] knows the status. No handler has a timeout of its own, watches for its
//! client, or knows that the server may be shutting down.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse, Response},
};
use ripcord::Context;
use ripcord_http::{
    RequestId,
    server::{Ctx, Ended},
};

use super::{Service, page};
use crate::html::wants_page;

/// How long the work behind `/` takes.
const WORK: Duration = Duration::from_secs(2);

/// How long the work behind `/slow` would take: more than any request has.
const SLOW_WORK: Duration = Duration::from_secs(10);

/// `/`
pub(super) async fn index(Ctx(ctx): Ctx, headers: HeaderMap) -> Result<Response, Ended> {
    if wants_page(&headers) {
        return Ok(Html(page::INDEX).into_response());
    }
    let id = request_id(&ctx);
    tracing::info!(request_id = id, "Request started");

    ctx.sleep(WORK).await.inspect_err(|error| tracing::info!(request_id = id, "Request canceled: {error:#}"))?;

    tracing::info!(request_id = id, "Work completed");
    Ok(format!("Request processed successfully. Request ID: {id}").into_response())
}

/// `/slow`
pub(super) async fn slow(Ctx(ctx): Ctx) -> Result<String, Ended> {
    let id = request_id(&ctx);
    tracing::info!(request_id = id, "Slow request started");

    ctx.sleep(SLOW_WORK)
        .await
        .inspect_err(|error| tracing::info!(request_id = id, "Slow request canceled: {error:#}"))?;

    tracing::info!(request_id = id, "Slow work completed");
    Ok(format!("Slow request processed. Request ID: {id}"))
}

/// `/healthz`
pub(super) async fn health(State(service): State<Service>) -> (StatusCode, &'static str) {
    match service.is_draining() {
        false => (StatusCode::OK, "ready"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

/// `/metrics`
pub(super) async fn metrics(State(service): State<Service>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], service.metrics().text())
}

/// Everything else. The chapter's mux gives all other paths to `/`, which hides every misspelt one.
pub(super) async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "Not found")
}

fn request_id(ctx: &Context) -> &str {
    ctx.value::<RequestId>().map_or("unknown", RequestId::as_str)
}
