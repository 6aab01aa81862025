//! Dropping a canceler cancels, so there is one of it. Whoever wants several takes `handle()`s.

use ripcord::Context;

fn main() {
    let (_ctx, cancel) = Context::background().with_cancel();
    let _other = cancel.clone();
}
