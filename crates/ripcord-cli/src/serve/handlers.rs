//! The handlers.
//!
//! A handler takes its request's [`Context`] and passes it to each call that takes time. When the context has ended, `?` returns
//! [`Ended`], which contains the status. No handler has its own timeout, watches its client, or handles the shutdown.

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

use super::{Service, log::describe, metrics::Format, page};
use crate::html::wants_page;

/// Duration of the work of `/`.
const WORK: Duration = Duration::from_secs(2);

/// Duration of the work of `/slow`: longer than the timeout of a request.
const SLOW_WORK: Duration = Duration::from_secs(10);

/// Handles `/`.
pub(super) async fn index(Ctx(ctx): Ctx, headers: HeaderMap) -> Result<Response, Ended> {
    if wants_page(&headers) {
        return Ok(Html(page::INDEX).into_response());
    }
    let id = request_id(&ctx);
    tracing::info!(request_id = id, "Request started");

    let log_end = |error: &ripcord::Error| tracing::info!(request_id = id, "Request canceled: {}", describe(error));
    ctx.sleep(WORK).await.inspect_err(log_end)?;

    tracing::info!(request_id = id, "Work completed");
    Ok(format!("Request processed successfully. Request ID: {id}").into_response())
}

/// Handles `/slow`.
pub(super) async fn slow(Ctx(ctx): Ctx) -> Result<String, Ended> {
    let id = request_id(&ctx);
    tracing::info!(request_id = id, "Slow request started");

    let log_end =
        |error: &ripcord::Error| tracing::info!(request_id = id, "Slow request canceled: {}", describe(error));
    ctx.sleep(SLOW_WORK).await.inspect_err(log_end)?;

    tracing::info!(request_id = id, "Slow work completed");
    Ok(format!("Slow request processed. Request ID: {id}"))
}

/// Handles `/healthz`.
pub(super) async fn health(State(service): State<Service>) -> (StatusCode, &'static str) {
    match service.is_draining() {
        false => (StatusCode::OK, "ready"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

/// Handles `/metrics`.
pub(super) async fn metrics(State(service): State<Service>, headers: HeaderMap) -> impl IntoResponse {
    let format = Format::negotiate(&headers);
    ([(CONTENT_TYPE, format.content_type())], service.metrics().text(format))
}

/// Handles all other paths. The mux of the Go tutorial routes them to `/`, which hides misspelled paths.
pub(super) async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "Not found")
}

fn request_id(ctx: &Context) -> &str {
    ctx.value::<RequestId>().map_or("unknown", RequestId::as_str)
}
