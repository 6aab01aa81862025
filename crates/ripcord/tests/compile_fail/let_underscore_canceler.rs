//! `let (ctx, _) = ...` and `let _ = ...` drop the canceler at once, where `let (ctx, _cancel) = ...` keeps it to the end
//! of the block. rustc's `let_underscore_drop` says so of a canceler alone and of the pair.

#![deny(let_underscore_drop)]

use ripcord::Context;

fn main() {
    let ctx = Context::background();
    let _ = ctx.with_cancel();
}
