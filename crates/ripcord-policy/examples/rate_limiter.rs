//! A context-aware rate limiter: bursts, waits, reservations, new rates, and a bucket for each client.
//!
//! It solves exercise 3 of a Go context tutorial, and more. Run it with `cargo run --example rate_limiter`.

#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::Context;
use ripcord_policy::{KeyedLimiter, Quota, Rate, RateLimiter};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("=== Context-Aware Rate Limiter ===");
    let ctx = Context::background();
    let limiter = RateLimiter::builder().rate(Rate::per_second(5.0)).burst(3).build()?;

    println!("\nA burst of 3 requests, then the rate limits");
    for number in 1..=5 {
        println!("Request {number}: {}", if limiter.allow() { "allowed" } else { "denied" });
    }

    println!("\nWaiting for tokens at 5 per second");
    for number in 1..=3 {
        let waited = limiter.wait(&ctx).await?;
        println!("Token {number} after {waited:?}");
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
        Ok(_) => println!("A token"),
        Err(error) => println!("No token: {error:#}"),
    }

    println!("\nA wait that cannot end before the deadline fails at once");
    let near = ctx.with_timeout(Duration::from_millis(150));
    let error = limiter.wait_n(&near, 3).await.unwrap_err();
    println!("{error:#}");

    println!("\nReservations");
    let first = limiter.reserve();
    let second = limiter.reserve();
    println!("First in {:?}, second in {:?}", first.delay(), second.delay());
    println!("Second canceled, its token came back: {}", second.cancel());
    ctx.sleep(first.delay()).await?;
    println!("The first may act now");

    println!("\nA new rate and a new burst");
    limiter.set_rate(Rate::every(Duration::from_millis(1)))?;
    limiter.set_burst(100)?;
    let waited = limiter.wait_n(&ctx, 50).await?;
    println!("50 tokens after {waited:?} at {} and a burst of {}", limiter.rate(), limiter.burst());
    println!("A burst of 0: {}", limiter.set_burst(0).unwrap_err());

    println!("\nA bucket for each client, and a larger one for one of them");
    let (rate, large) = (Rate::per_second(1.0), Quota::new(Rate::per_second(10.0), 2)?);
    let clients = KeyedLimiter::builder().rate(rate).burst(1);
    let clients = clients.quota(move |client: &&str| (*client == "10.0.0.2").then_some(large)).build()?;
    for client in ["10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2"] {
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
        stats.calls.canceled, stats.deadline_refused, stats.refunded
    );
    println!("longest wait {:?}, total {:?}", stats.longest_wait, stats.total_wait);
    Ok(())
}
