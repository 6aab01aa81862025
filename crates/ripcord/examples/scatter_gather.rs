//! Scatter-gather with partial results: query several backends concurrently, and answer with the results that are in time.
//!
//! `cargo run --example scatter_gather`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::{Cause, Context, Group, GroupError, Join};

/// One backend. It answers after the time `takes`, and fails if it has no data.
struct Backend {
    name: &'static str,
    takes: Duration,
    prices: Option<u32>,
}

const BACKENDS: [Backend; 4] = [
    Backend { name: "north", takes: Duration::from_millis(50), prices: Some(12) },
    Backend { name: "south", takes: Duration::from_millis(100), prices: None },
    Backend { name: "east", takes: Duration::from_millis(150), prices: Some(9) },
    Backend { name: "west", takes: Duration::from_secs(60), prices: Some(7) },
];

impl Backend {
    /// The context limits every wait, so no backend needs a timeout of its own.
    async fn ask(&self, ctx: &Context) -> Result<u32, Cause> {
        ctx.sleep(self.takes).await?;
        self.prices.ok_or_else(|| Cause::from("no data"))
    }
}

/// Starts one task for each backend. Each task gets the group's context, which ends with the request's.
fn scatter(request: &Context, join: Join) -> Group<u32> {
    // With the feature `tokio`, the default executor of a group is tokio.
    let group = Group::builder().executor(|task| drop(tokio::spawn(task))).limit(10).join(join);
    let (group, ctx) = group.build(request);
    for backend in &BACKENDS {
        let ctx = ctx.clone();
        group.go(async move { backend.ask(&ctx).await });
    }
    group
}

fn print(results: &[Result<u32, GroupError>]) {
    for (backend, result) in BACKENDS.iter().zip(results) {
        match result {
            Ok(price) => println!("{}: {price}", backend.name),
            Err(error) => println!("{}: {error}", backend.name),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("=== Scatter-Gather ===");
    let root = Context::background();

    // `All`: a failure cancels no other task. The answer has the results at the deadline, in the order of the calls.
    println!("\nCase 1: Partial results at the deadline");
    let request = root.with_timeout(Duration::from_millis(500));
    print(&scatter(&request, Join::All).results().await);

    // `First`: the first success ends the others.
    println!("\nCase 2: The first answer");
    let request = root.with_timeout(Duration::from_millis(500));
    match scatter(&request, Join::First).values().await {
        Ok(prices) => println!("First: {prices:?}"),
        Err(error) => println!("Error: {error}"),
    }

    // `FailFast`, the default: the first failure cancels the others, and their results report the cancel.
    println!("\nCase 3: All or nothing");
    let request = root.with_timeout(Duration::from_millis(500));
    print(&scatter(&request, Join::FailFast).results().await);
}
