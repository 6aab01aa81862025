//! `done()` borrows its context. `done_owned()` does not.

use ripcord::Context;

fn main() {
    let done = {
        let (ctx, _cancel) = Context::background().with_cancel();
        ctx.done()
    };
    drop(done);
}
