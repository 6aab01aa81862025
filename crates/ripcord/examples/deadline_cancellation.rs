//! Deadlines in the future, in the past, and before the parent's deadline.
//!
//! `cargo run --example deadline_cancellation`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::{
    fmt,
    time::{Duration, Instant},
};

use ripcord::{Context, Error};

/// A moment relative to another moment: `3s`, or `-1s` if it has passed.
///
/// A deadline is an `Instant` and not a date, so it does not move when the system's clock is set. Go's time contains
/// both, and prints the monotonic part as `m=+3.000068284`, the seconds since the start of the program.
struct Since {
    moment: Instant,
    origin: Instant,
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.moment.checked_duration_since(self.origin) {
            Some(after) => write!(f, "{after:?}"),
            None => write!(f, "-{:?}", self.origin - self.moment),
        }
    }
}

fn process_with_deadline(ctx: &Context, began: Instant, task: &str) -> Result<(), Error> {
    match ctx.deadline() {
        Some(deadline) => println!(
            "Task {task}: Deadline set to {} after the start (in {})",
            Since { moment: deadline, origin: began },
            // Programs usually call `ctx.remaining()`. It returns zero for every deadline that has passed.
            Since { moment: deadline, origin: Instant::now() },
        ),
        None => println!("Task {task}: No deadline set"),
    }

    match ctx.sleep_blocking(Duration::from_secs(2)) {
        Ok(()) => {
            println!("Task {task}: Completed successfully");
            Ok(())
        }
        Err(error) => {
            println!("Task {task}: Canceled due to: {error}");
            Err(error)
        }
    }
}

fn report(ctx: &Context, began: Instant, task: &str) {
    if let Err(error) = process_with_deadline(ctx, began, task) {
        println!("Error: {error}");
    }
}

fn main() {
    let began = Instant::now();
    let background = Context::background();
    println!("=== Deadline Cancellation ===");

    println!("\nCase 1: Deadline in the future");
    let future = background.with_deadline(Instant::now() + Duration::from_secs(3));
    report(&future, began, "future-deadline");

    // Done from its first moment, before any timer fires.
    println!("\nCase 2: Deadline in the past");
    let past = background.with_deadline(Instant::now() - Duration::from_secs(1));
    report(&past, began, "past-deadline");

    // A child can only shorten the time that its parent has left.
    println!("\nCase 3: Derived context with earlier deadline");
    let parent = background.with_deadline(Instant::now() + Duration::from_secs(10));
    let child = parent.with_deadline(Instant::now() + Duration::from_secs(1));
    report(&child, began, "child-deadline");
}
