//! A callback runs on another thread.

use std::rc::Rc;

use ripcord::Context;

fn main() {
    let (ctx, _cancel) = Context::background().with_cancel();
    let shared = Rc::new(7);
    ctx.after_func(move || drop(shared));
}
