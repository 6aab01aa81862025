//! A tree of the calls that were made, carried by the context.
//!
//! `cargo run --example context_propagation`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::Duration;

use ripcord::{Context, Error};

/// Calls B and C.
fn function_a(ctx: &Context) -> Result<(), Error> {
    // A child of whatever trace the context carries. Where the Go program has to look that up, add the child and end it on
    // each path, and in one place does not, the guard does, by the `?` as well.
    let (ctx, _trace) = ctx.start_trace("FunctionA");
    ctx.sleep_blocking(Duration::from_millis(100))?;
    function_b(&ctx)?;
    function_c(&ctx)
}

/// Calls D.
fn function_b(ctx: &Context) -> Result<(), Error> {
    let (ctx, _trace) = ctx.start_trace("FunctionB");
    ctx.sleep_blocking(Duration::from_millis(200))?;
    function_d(&ctx)
}

fn function_c(ctx: &Context) -> Result<(), Error> {
    let (ctx, _trace) = ctx.start_trace("FunctionC");
    // Ends when the context does; the trace is then marked as canceled, with the cause.
    ctx.sleep_blocking(Duration::from_millis(150))
}

fn function_d(ctx: &Context) -> Result<(), Error> {
    let (ctx, _trace) = ctx.start_trace("FunctionD");
    ctx.sleep_blocking(Duration::from_millis(300))
}

fn main() {
    println!("=== Context Propagation ===");

    let ctx = Context::background().with_timeout(Duration::from_secs(2));
    let (ctx, trace) = ctx.start_trace("Main");
    let result = function_a(&ctx);
    let trace = trace.end();

    if let Err(error) = result {
        println!("Error: {error}");
    }
    println!("\nTrace Hierarchy:\n{trace}");
}
