//! One cancel ends three workers. On plain threads: no executor is needed to wait on a context.
//!
//! `cargo run --example manual_cancellation`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::{thread, time::Duration};

use ripcord::Context;

fn worker(ctx: &Context, id: u32) {
    println!("Worker {id}: Started");

    // Go needs a `select` over a timer and `ctx.Done()`, and with `time.After` the timer lives on when the context wins.
    // Here anything that takes time takes the context, and `Err` is the one other way out.
    match ctx.sleep_blocking(Duration::from_secs(5)) {
        Ok(()) => println!("Worker {id}: Completed work"),
        Err(error) => println!("Worker {id}: Canceled with error: {error}"),
    }
}

fn main() {
    println!("=== Manual Cancellation ===");

    let (ctx, cancel) = Context::background().with_cancel();
    let ctx = &ctx;

    println!("Main: Starting workers...");
    // The chapter sleeps for a second at the end, hoping that its workers are done by then. A scope joins its threads.
    thread::scope(|scope| {
        for id in 1..=3 {
            scope.spawn(move || worker(ctx, id));
        }

        // The time the workers get; nothing is being waited for.
        thread::sleep(Duration::from_secs(2));
        println!("Main: Canceling workers...");
        // When this returns, every context derived from `ctx` is done. Dropping `cancel` would do the same.
        cancel.cancel();
    });
    println!("Main: Done");
}
