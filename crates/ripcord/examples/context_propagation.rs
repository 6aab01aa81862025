//! A tree of the calls made, carried by the context.
//!
//! `cargo run --example context_propagation`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::{Context, Error};

/// Calls B and C.
fn function_a(ctx: &Context) -> Result<(), Error> {
    // Starts a child of the context's span. The guard ends the span on every path, including a `?`. The Go program looks up
    // the parent, adds the child and ends it by hand, and forgets to end it on one path.
    let (ctx, _span) = ctx.start_span("FunctionA");
    ctx.sleep_blocking(Duration::from_millis(100))?;
    function_b(&ctx)?;
    function_c(&ctx)
}

/// Calls D.
fn function_b(ctx: &Context) -> Result<(), Error> {
    let (ctx, _span) = ctx.start_span("FunctionB");
    ctx.sleep_blocking(Duration::from_millis(200))?;
    function_d(&ctx)
}

fn function_c(ctx: &Context) -> Result<(), Error> {
    let (ctx, _span) = ctx.start_span("FunctionC");
    // Ends with the context. The span then records the end and its cause.
    ctx.sleep_blocking(Duration::from_millis(150))
}

fn function_d(ctx: &Context) -> Result<(), Error> {
    let (ctx, _span) = ctx.start_span("FunctionD");
    ctx.sleep_blocking(Duration::from_millis(300))
}

fn main() {
    println!("=== Context Propagation ===");

    let ctx = Context::background().with_timeout(Duration::from_secs(2));
    let (ctx, span) = ctx.start_span("Main");
    let result = function_a(&ctx);
    let span = span.end();

    if let Err(error) = result {
        println!("Error: {error}");
    }
    println!("\nTrace Hierarchy:\n{span}");
}
