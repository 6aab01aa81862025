//! An axum app that is served until the program stops it.
//!
//! `cargo run --example axum_app` sends itself a request, stops while the request is in flight, and prints the report.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::error::Error;
use std::future::IntoFuture as _;
use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use ripcord::Shutdown;
use ripcord_http::server::{ContextLayer, Ctx};
use tokio::sync::Notify;

/// Works until the server drains, then responds.
async fn report(Ctx(ctx): Ctx, State(started): State<Arc<Notify>>) -> &'static str {
    started.notify_one();
    ctx.draining().await;
    "finished in order"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder().phase("close the pool", std::time::Duration::MAX, |_| async {}).build();
    let started = Arc::new(Notify::new());
    let app = Router::new().route("/report", get(report)).with_state(Arc::clone(&started));
    let app = app.layer(ContextLayer::new(shutdown.context()));

    let listener = ripcord_http::listen("127.0.0.1:0").await?;
    let url = format!("http://{}/report", listener.local_addr()?);
    let serving = tokio::spawn(ripcord_http::serve(listener, app).shutdown(&shutdown).into_future());

    let client = tokio::spawn(async { reqwest::get(url).await?.text().await });
    started.notified().await;
    shutdown.begin("a new version is deployed");
    println!("client: {}", client.await??);
    serving.await?;

    let report = shutdown.run().await;
    println!("cause: {}, canceled: {}", report.cause(), report.canceled().len());
    println!("phase {:?}: {}", report.phases()[0].name(), report.phases()[0].outcome());
    Ok(())
}
