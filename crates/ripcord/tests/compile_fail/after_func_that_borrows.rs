//! A callback may run long after the function that registered it has returned.

use ripcord::Context;

fn main() {
    let (ctx, _cancel) = Context::background().with_cancel();
    let name = String::from("john");
    ctx.after_func(|| drop(name.len()));
}
