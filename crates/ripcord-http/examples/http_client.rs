//! Requests that end when their context ends. The program also starts the server.
//!
//! `cargo run --example http_client`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::error::Error;
use std::future::IntoFuture as _;
use std::time::Duration;

use axum::extract::Path;
use axum::{Router, routing::get};
use ripcord::{Context, Shutdown};
use ripcord_http::client::reqwest::RequestBuilderExt;

/// Returns the body of the response. Returns an error if the context ends first, during the request or while the body is read.
async fn fetch_url(ctx: &Context, url: &str) -> Result<String, Box<dyn Error>> {
    let request = reqwest::Client::new().get(url).context(ctx);
    let response = request.send().await.map_err(|error| format!("error executing request: {error}"))?;
    let body = response.text().await.map_err(|error| format!("error reading response: {error}"))?;
    Ok(body)
}

async fn demonstrate(base: &str) {
    println!("=== HTTP Client with Context ===");

    println!("\nCase 1: Request with sufficient timeout");
    let ctx = Context::background().with_timeout(Duration::from_secs(10));
    print_result(fetch_url(&ctx, &format!("{base}/delay/1")).await);

    println!("\nCase 2: Request with insufficient timeout");
    let ctx = Context::background().with_timeout(Duration::from_millis(500));
    print_result(fetch_url(&ctx, &format!("{base}/delay/2")).await);

    println!("\nCase 3: Request with manual cancellation");
    let (ctx, cancel) = Context::background().with_cancel();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        println!("Manually canceling request...");
        cancel.cancel();
    });
    print_result(fetch_url(&ctx, &format!("{base}/delay/3")).await);
}

fn print_result(result: Result<String, Box<dyn Error>>) {
    match result {
        Ok(body) => println!("Response length: {} bytes", body.len()),
        Err(error) => println!("Error: {error}"),
    }
}

/// A slow handler without a context. With a context, it would have the client's deadline, and could respond before it passes.
async fn delay(Path(seconds): Path<u64>) -> String {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    format!("answered after {seconds}s.\n")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder().build();
    let router = Router::new().route("/delay/{seconds}", get(delay));
    let listener = ripcord_http::listen("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(ripcord_http::serve(listener, router).shutdown(&shutdown).into_future());

    demonstrate(&base).await;
    shutdown.begin("the end of the example");
    serving.await?;
    Ok(())
}
