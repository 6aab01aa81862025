//! A Go tutorial's exercise 3, a context-aware rate limiter: every feature it lists, and what it does not ask for.
//!
//! Run it with `cargo run --example rate_limiter`.

#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::Context;
use ripcord_policy::{KeyedLimiter, Rate, RateLimiter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("=== Context-Aware Rate Limiter ===");
    let ctx = Context::background();
    let limiter = RateLimiter::new(Rate::per_second(5.0), 3)?;

    println!("\nBursts: 3 at once, then the rate decides");
    for number in 1..=5 {
        println!("Request {number}: {}", if limiter.allow() { "allowed" } else { "denied" });
    }

    println!("\nWaiting for permits at 5 a second");
    for number in 1..=3 {
        let waited = limiter.wait(&ctx).await?;
        println!("Permit {number} after {waited:?}");
    }

    println!("\nA wait ends with its context");
    let (canceled, cancel) = ctx.with_cancel();
    let _stop = tokio::spawn({
        let ctx = ctx.clone();
        async move {
            let _ = ctx.sleep(Duration::from_millis(20)).await;
            cancel.cancel_with("the client has gone");
        }
    });
    match limiter.wait(&canceled).await {
        Ok(_) => println!("Permit"),
        Err(error) => println!("No permit: {error}"),
    }

    println!("\nA wait that cannot end in time is not begun");
    let near = ctx.with_timeout(Duration::from_millis(150));
    let error = limiter.wait_n(&near, 3).await.unwrap_err();
    println!("Deadline exceeded: {}, at once", error.is_deadline_exceeded());

    println!("\nReservations");
    let first = limiter.reserve()?;
    let second = limiter.reserve()?;
    println!("First in {:?}, second in {:?}", first.delay(), second.delay());
    println!("Second canceled, its token is back: {}", second.cancel());
    ctx.sleep(first.delay()).await?;
    println!("First acts now");

    println!("\nRate and burst are set while in use");
    limiter.set_rate(Rate::every(Duration::from_millis(1)))?;
    limiter.set_burst(100)?;
    let waited = limiter.wait_n(&ctx, 50).await?;
    println!("50 permits after {waited:?} at {} and a burst of {}", limiter.rate(), limiter.burst());
    println!("A burst of 0: {}", limiter.set_burst(0).unwrap_err());

    println!("\nOne bucket a client");
    let clients = KeyedLimiter::new(Rate::per_second(1.0), 1)?;
    for client in ["10.0.0.1", "10.0.0.1", "10.0.0.2"] {
        println!("{client}: {}", if clients.allow(&client) { "allowed" } else { "denied" });
    }

    let stats = limiter.stats();
    println!("\nStatistics");
    println!(
        "allowed {}, denied {}, reserved {}, waited {}",
        stats.allowed, stats.denied, stats.reserved, stats.waited
    );
    println!(
        "canceled {}, refused for the deadline {}, tokens given back {}",
        stats.canceled, stats.deadline_refused, stats.refunded
    );
    println!("longest wait {:?}, {:?} in all", stats.longest_wait, stats.total_wait);
    Ok(())
}
