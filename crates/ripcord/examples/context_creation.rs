//! Creating contexts and printing them.
//!
//! `cargo run --example context_creation`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::time::{Duration, Instant};

use ripcord::{Context, Value};

/// In Rust the key is the type of the value, so the chapter's pair `"key", "value"` becomes one value: `Key("value")`.
struct Key(&'static str);

impl Value for Key {}

fn main() {
    println!("=== Context Creation ===");

    // The root of all contexts. It is never done. It can be a constant, so it costs nothing.
    let background = Context::background();
    println!("Background context: {background}");

    // For code that does not take a context yet.
    let todo = Context::todo();
    println!("TODO context: {todo}");

    // Go returns a cancel function that has to be deferred, or the context leaks. Here the canceler cancels when it is
    // dropped, on every path out of this function. (`let (ctx, _)` would drop it at once. `_cancel` keeps it.)
    let (with_cancel, _cancel) = background.with_cancel();
    println!("WithCancel context: {with_cancel}");

    // Go arms a timer here, and so returns a cancel function to disarm it. Here no timer is armed before the first
    // waiter is added, so there is nothing to release.
    let with_timeout = background.with_timeout(Duration::from_secs(5));
    println!("WithTimeout context: {with_timeout}");

    let with_deadline = background.with_deadline(Instant::now() + Duration::from_secs(10));
    println!("WithDeadline context: {with_deadline}");

    // A context prints the types of its values and never their contents, because values may be secret tokens.
    let with_value = background.with_value(Key("value"));
    println!("WithValue context: {with_value}");

    // The value is found by its type. There is no type assertion that could fail.
    if let Some(Key(value)) = with_value.value::<Key>() {
        println!("Value from context: {value}");
    }
}
