//! A server whose requests each have an ID and a limit of five seconds. Its handlers stop when the client disconnects.
//!
//! `cargo run --example http_server` sends itself requests and prints the responses. With an address, as in
//! `cargo run --example http_server 127.0.0.1:8080`, it serves until Ctrl-C.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::error::Error;
use std::future::IntoFuture as _;
use std::time::Duration;

use axum::{Router, routing::any};
use ripcord::{Context, Shutdown};
use ripcord_http::RequestId;
use ripcord_http::server::{ContextLayer, Ctx, Ended, matched_path};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

// Handler that uses context values
async fn handle_request(Ctx(ctx): Ctx) -> Result<String, Ended> {
    let request_id = ctx.value::<RequestId>().map_or("unknown", RequestId::as_str);
    println!("[{request_id}] Request started");

    // Simulate work with context awareness
    match ctx.sleep(Duration::from_secs(2)).await {
        Ok(()) => {
            println!("[{request_id}] Work completed");
            Ok(format!("Request processed successfully. Request ID: {request_id}"))
        }
        // This will happen if the client disconnects or the timeout is reached
        Err(error) => {
            println!("[{request_id}] Request canceled: {error}");
            Err(error.into())
        }
    }
}

// Slow handler that will trigger timeout
async fn handle_slow_request(Ctx(ctx): Ctx) -> Result<String, Ended> {
    let request_id = ctx.value::<RequestId>().map_or("unknown", RequestId::as_str);
    println!("[{request_id}] Slow request started");

    // This is longer than our timeout
    match ctx.sleep(Duration::from_secs(10)).await {
        Ok(()) => {
            println!("[{request_id}] Slow work completed");
            Ok(format!("Slow request processed. Request ID: {request_id}"))
        }
        Err(error) => {
            println!("[{request_id}] Slow request canceled: {error}");
            Err(error.into())
        }
    }
}

/// The layer replaces the two middlewares of the tutorial: the ID and the timeout.
fn app(server: &Context, over: UnboundedSender<()>) -> Router {
    let layer = ContextLayer::new(server).timeout(Duration::from_secs(5)).name(matched_path).on_end(move |_| {
        // There may be no receiver.
        let _ = over.send(());
    });
    Router::new().route("/", any(handle_request)).route("/slow", any(handle_slow_request)).layer(layer)
}

async fn demonstrate(base: &str, requests: &mut UnboundedReceiver<()>) -> Result<(), Box<dyn Error>> {
    for path in ["/", "/slow"] {
        println!("\n== GET {path}");
        let response = reqwest::get(format!("{base}{path}")).await?;
        println!("{:?} {}", response.version(), response.status());
        println!("X-Request-Id: {}", response.headers()[RequestId::HEADER].to_str()?);
        println!("\n{}", response.text().await?);
        requests.recv().await;
    }

    println!("\n== GET / and a client that disconnects after half a second");
    let impatient = Context::background().with_timeout(Duration::from_millis(500));
    let _ = impatient.run(reqwest::get(base)).await;
    requests.recv().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder().context(&Context::background().with_name("serve")).build();
    let address = std::env::args().nth(1);
    let listener = ripcord_http::listen(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let base = format!("http://{}", listener.local_addr()?);
    println!("Starting server on {base}");
    println!("Try these endpoints:");
    println!("  - {base}/ (normal request)");
    println!("  - {base}/slow (will timeout)");

    let (over, mut requests) = unbounded_channel();
    let app = app(shutdown.context(), over);
    let serving = tokio::spawn(ripcord_http::serve(listener, app).shutdown(&shutdown).into_future());
    if address.is_some() {
        shutdown.on_signals()?;
    } else {
        demonstrate(&base, &mut requests).await?;
        shutdown.begin("the end of the example");
    }
    serving.await?;
    Ok(())
}
