//! A Go tutorial's first exercise: a cache that respects its callers' contexts and has its own context.
//!
//! `cargo run --example cache`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::{Context, Value};
use ripcord_policy::cache::Cache;

const MS: Duration = Duration::from_millis(1);

struct RequestId(&'static str);
impl Value for RequestId {}

/// A slow lookup that ends with its context.
async fn look_up(ctx: Context, user: u32) -> Result<String, ripcord::Error> {
    println!("  loading user {user} for {}", ctx.value::<RequestId>().map_or("nobody", |id| id.0));
    ctx.sleep(100 * MS).await?;
    Ok(format!("user-{user}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("=== Context-Aware Cache ===");

    // The cache has its own context. It removes expired entries until this context ends.
    let (app, shutdown) = Context::background().with_name("app").with_cancel();
    let cache: Cache<u32, String> = Cache::builder()
        .capacity(1_000)
        .ttl(2000 * MS)
        .sweep_every(40 * MS)
        .on_evict(|user, _, why| println!("  user {user} left the cache: {why:?}"))
        .build(&app)?;
    let ctx = Context::background().with_value(RequestId("req-1"));

    println!("\n1. Set, Get, Delete, Clear");
    cache.insert(&ctx, 1, "alice".to_owned())?;
    println!("  user 1: {:?}", cache.get(&ctx, &1)?);
    println!("  user 3: {:?}", cache.get(&ctx, &3)?);
    println!("  deleted: {:?}", cache.remove(&ctx, &1)?);
    cache.insert(&ctx, 3, "carol".to_owned())?;
    cache.clear(&ctx)?;
    println!("  cleared: {} entries", cache.len());

    println!("\n2. Expiration, and cleanup in the background");
    cache.insert_with_ttl(&ctx, 2, "bob".to_owned(), 200 * MS)?;
    println!("  user 2: {:?}", cache.get(&ctx, &2)?);
    ctx.sleep(400 * MS).await?;
    println!("  after its TTL: {:?}, {} entries", cache.get(&ctx, &2)?, cache.len());

    println!("\n3. A done context gets nothing");
    let (gone, cancel) = ctx.with_cancel();
    cancel.cancel();
    println!("  get: {}", cache.get(&gone, &1).unwrap_err());
    println!("  set: {}", cache.insert(&gone, 1, "eve".to_owned()).unwrap_err());

    println!("\n4. One load for all callers");
    let ask = |ctx: Context| {
        let cache = cache.clone();
        async move { cache.run(&ctx, 7, |ctx| look_up(ctx, 7)).await }
    };
    let hurried = ctx.with_timeout(20 * MS);
    let (first, second, third) = tokio::join!(ask(ctx.clone()), ask(hurried), ask(ctx.clone()));
    println!("  the first caller: {:?}", first?);
    println!("  a caller with less time: {}", second.unwrap_err());
    println!("  another caller: {:?}", third?);

    println!("\n5. The load is canceled when its last caller leaves; a later caller starts a new one");
    let left = cache.get_or_load(&ctx.with_timeout(10 * MS), 8, |ctx| look_up(ctx, 8)).await;
    println!("  left: {}", left.unwrap_err());
    println!("  later: {}", cache.get_or_load(&ctx, 8, |ctx| look_up(ctx, 8)).await?);

    println!("\n6. Canceling the cache's context ends everything");
    let waiting = tokio::spawn(ask_forever(cache.clone(), ctx.clone()));
    ctx.sleep(10 * MS).await?;
    shutdown.cancel_with("the app is shutting down");
    println!("  a load in flight: {}", waiting.await?.unwrap_err());
    println!("  get: {}", cache.get(&ctx, &7).unwrap_err());

    let stats = cache.stats();
    println!("\n{} hits, {} misses, {} joined a load", stats.hits, stats.misses, stats.coalesced);
    println!(
        "loads: {} started, {} succeeded, {} canceled",
        stats.calls.started, stats.calls.succeeded, stats.calls.canceled
    );
    Ok(())
}

async fn ask_forever(
    cache: Cache<u32, String>,
    ctx: Context,
) -> Result<String, ripcord_policy::Error<ripcord_policy::SharedError>> {
    cache.get_or_load(&ctx, 9, |_ctx| std::future::pending::<Result<String, std::io::Error>>()).await
}
