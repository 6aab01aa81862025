//! A context and its canceler thrown away. Both go at once: the new context is canceled as soon as it is made.
//!
//! The compiler says so when the call stands alone. It has nothing to say about `let _ = ctx.with_cancel()`, which is how
//! one tells it that a value is dropped on purpose; what can be had there is the lint `let_underscore_drop`, off by
//! default, which the second case turns on.

#![deny(unused_must_use)]

use ripcord::Context;

fn main() {
    let ctx = Context::background();
    ctx.with_cancel();
}
