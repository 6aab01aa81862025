//! A timeout longer than the operation, and a shorter timeout. On tokio, but any executor works.
//!
//! `cargo run --example timeout_cancellation`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::{Context, Error};

/// An operation of another library, which does not use contexts.
async fn fetch() -> &'static str {
    tokio::time::sleep(Duration::from_secs(3)).await;
    "Operation result"
}

async fn slow_operation(ctx: &Context) -> Result<&'static str, Error> {
    println!("SlowOperation: Starting...");

    // `run` drops any future when the context ends, which stops the future. A goroutine in Go would have to watch
    // `ctx.Done()` itself. A result that is ready wins over an end at the same moment. Go's `select` chooses one of the
    // two at random.
    match ctx.run(fetch()).await {
        Ok(result) => {
            println!("SlowOperation: Completed successfully");
            Ok(result)
        }
        Err(error) => {
            println!("SlowOperation: Canceled with error: {error}");
            Err(error)
        }
    }
}

async fn report(ctx: &Context) {
    match slow_operation(ctx).await {
        Ok(result) => println!("Result: {result}"),
        Err(error) => println!("Error: {error}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("=== Timeout Cancellation ===");

    // No `defer cancel()`, because a timeout arms no timer and there is nothing to release.
    println!("\nCase 1: Timeout longer than operation");
    report(&Context::background().with_timeout(Duration::from_secs(5))).await;

    println!("\nCase 2: Timeout shorter than operation");
    report(&Context::background().with_timeout(Duration::from_secs(2))).await;
}
