//! What the service answers.
//!
//! A handler takes its request's [`Context`] and passes it to whatever takes time. When that says the Context has
//! ended, `?` is all there is to do: [`Ended`] knows the status. No handler has a timeout of its own, watches for its
//! client, or knows that the server may be shutting down.

use std::time::Duration;

use axum::http::StatusCode;
use ripcord::Context;
use ripcord_http::{
    RequestId,
    server::{Ctx, Ended},
};

/// How long the work behind `/` takes.
const WORK: Duration = Duration::from_secs(2);

/// How long the work behind `/slow` would take: more than any request has.
const SLOW_WORK: Duration = Duration::from_secs(10);

/// `/`
pub(super) async fn index(Ctx(ctx): Ctx) -> Result<String, Ended> {
    let id = request_id(&ctx);
    log::info!("[{id}] Request started");

    ctx.sleep(WORK).await.inspect_err(|error| log::info!("[{id}] Request canceled: {error:#}"))?;

    log::info!("[{id}] Work completed");
    Ok(format!("Request processed successfully. Request ID: {id}"))
}

/// `/slow`
pub(super) async fn slow(Ctx(ctx): Ctx) -> Result<String, Ended> {
    let id = request_id(&ctx);
    log::info!("[{id}] Slow request started");

    ctx.sleep(SLOW_WORK).await.inspect_err(|error| log::info!("[{id}] Slow request canceled: {error:#}"))?;

    log::info!("[{id}] Slow work completed");
    Ok(format!("Slow request processed. Request ID: {id}"))
}

/// Everything else. The chapter's mux gives all other paths to `/`, which hides every misspelt one.
pub(super) async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "Not found")
}

fn request_id(ctx: &Context) -> &str {
    ctx.value::<RequestId>().map_or("unknown", RequestId::as_str)
}
