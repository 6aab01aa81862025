//! `let (ctx, _) = ...` and `let _ = ...` drop the canceler at once. `let (ctx, _cancel) = ...` keeps it until the end of
//! the block. rustc's lint `let_underscore_drop` reports both the canceler alone and the pair.

#![deny(let_underscore_drop)]

use ripcord::Context;

fn main() {
    let ctx = Context::background();
    let _ = ctx.with_cancel();
}
