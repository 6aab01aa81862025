//! A Go tutorial's retry under a five-second timeout: an unreliable call, up to five retries, growing waits.
//!
//! Run it with `cargo run --example retry_with_context`. Add a seed to repeat a run.

#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::sync::Arc;
use std::time::Duration;

use ripcord::Context;
use ripcord_policy::{Attempt, Random, Retry};

/// Fails seven times out of ten. A success takes 200 ms.
async fn unreliable(ctx: &Context, random: &Random) -> Result<&'static str, String> {
    if random.chance(0.7) {
        return Err("random failure".into());
    }
    ctx.sleep(Duration::from_millis(200)).await.map_err(|end| end.to_string())?;
    Ok("success result")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("=== Context with Retry Pattern ===");
    let random = match std::env::args().nth(1) {
        Some(seed) => Arc::new(Random::seeded(seed.parse()?)),
        None => Arc::new(Random::new()),
    };
    let ctx = Context::background().with_timeout(Duration::from_secs(5));

    // The `DefaultRetryOptions` of the Go program are the defaults: 100 ms, doubling up to 2 s. The program sets five retries.
    let retry = Retry::exponential()
        .max_attempts(6)
        .on_retry(|event| println!("Retry attempt {} after {:?}", event.attempt, event.delay))
        .build()?;

    let result = retry
        .run(&ctx, |ctx| {
            let random = Arc::clone(&random);
            async move {
                let result = unreliable(&ctx, &random).await;
                if let Err(error) = &result {
                    println!("Attempt {} failed: {error}", Attempt::number(&ctx));
                }
                result
            }
        })
        .await;
    match result {
        Ok(value) => println!("Success: {value}"),
        Err(error) => println!("Final error: {error:#}"),
    }
    Ok(())
}
