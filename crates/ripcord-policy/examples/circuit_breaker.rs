//! A Go tutorial's circuit breaker in five phases: healthy, failing, open, waiting, recovered.
//!
//! Run it with `cargo run --example circuit_breaker`. It prints the lines of the Go program, but does not have its faults: when
//! half-open, this breaker admits one probe at a time, and a canceled call does not count as a failure.

#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::{Duration, Instant};

use ripcord::Context;
use ripcord_policy::{CircuitBreaker, Error};

const PAUSE: Duration = Duration::from_millis(200);

async fn service(ctx: &Context, fails: bool) -> Result<&'static str, String> {
    ctx.sleep(Duration::from_millis(100)).await.map_err(|end| end.to_string())?;
    if fails { Err("service error".into()) } else { Ok("service result") }
}

async fn request(breaker: &CircuitBreaker, base: &Context, fails: bool) -> Result<&'static str, Error<String>> {
    let ctx = base.with_timeout(Duration::from_secs(1));
    breaker.run(&ctx, |ctx| async move { service(&ctx, fails).await }).await
}

/// Makes `count` requests and prints the result of each.
async fn requests(breaker: &CircuitBreaker, base: &Context, count: u32, fails: bool, timed: bool) {
    for number in 1..=count {
        let start = Instant::now();
        let result = request(breaker, base, fails).await;
        let took = if timed { format!(", Duration: {:?}", start.elapsed()) } else { String::new() };
        match result {
            Ok(value) => println!("Request {number} succeeded: {value} (Circuit: {})", breaker.state()),
            Err(error) => println!("Request {number} failed: {error} (Circuit: {}{took})", breaker.state()),
        }
        // The background context never ends, so this sleep always completes.
        let _ = base.sleep(PAUSE).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("=== Context with Circuit Breaker ===");
    let base = Context::background();
    // `CircuitBreaker::new("service-cb", 3, reset)` builds the same breaker without the hook.
    let breaker = CircuitBreaker::builder("service-cb")
        .consecutive_failures(3)
        .open_for(Duration::from_secs(2))
        .half_open_successes(2)
        .on_state_change(|change| println!("[{}] Circuit changed from {} to {}", change.name, change.from, change.to))
        .build()?;

    println!("\nPhase 1: Service is working");
    requests(&breaker, &base, 3, false, false).await;

    println!("\nPhase 2: Service starts failing");
    requests(&breaker, &base, 5, true, false).await;

    println!("\nPhase 3: Circuit is open, requests fail fast");
    requests(&breaker, &base, 3, true, true).await;

    println!("\nPhase 4: Waiting for reset timeout...");
    base.sleep(Duration::from_secs(2)).await?;

    println!("\nPhase 5: Service recovers");
    requests(&breaker, &base, 3, false, false).await;
    Ok(())
}
