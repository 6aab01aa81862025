//! An unused context and canceler. Both are dropped at once, and the drop of the canceler cancels the new context.
//!
//! The compiler reports the call alone. It does not report `let _ = ctx.with_cancel()`, which tells it that a value is
//! dropped on purpose. The lint `let_underscore_drop`, which is off by default, reports that form. The case
//! `let_underscore_canceler.rs` turns it on.

#![deny(unused_must_use)]

use ripcord::Context;

fn main() {
    let ctx = Context::background();
    ctx.with_cancel();
}
