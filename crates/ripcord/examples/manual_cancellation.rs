//! One cancel ends three workers on plain threads. Waiting on a context needs no executor.
//!
//! `cargo run --example manual_cancellation`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::{thread, time::Duration};

use ripcord::Context;

fn worker(ctx: &Context, id: u32) {
    println!("Worker {id}: Started");

    // Go needs a `select` over a timer and `ctx.Done()`, and with `time.After` the timer stays when the context ends first.
    // Here every function that waits takes the context, and returns `Err` if the context ends.
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
    // The chapter sleeps for a second at the end, and assumes that its workers end in this time. A scope joins its threads.
    thread::scope(|scope| {
        for id in 1..=3 {
            scope.spawn(move || worker(ctx, id));
        }

        // The workers run for this time. The sleep waits for no event.
        thread::sleep(Duration::from_secs(2));
        println!("Main: Canceling workers...");
        // When this returns, every context derived from `ctx` is done. Dropping `cancel` would do the same.
        cancel.cancel();
    });
    println!("Main: Done");
}
