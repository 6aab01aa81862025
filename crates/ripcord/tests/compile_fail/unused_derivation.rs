//! A context is immutable, so an unused derivation has no effect. A future that is not polled has no effect either. The
//! compiler reports each of them.

#![deny(unused_must_use)]

use std::time::Duration;

use ripcord::{Context, FutureExt, Value};

struct User;
impl Value for User {}

fn main() {
    let ctx = Context::background();
    ctx.with_timeout(Duration::from_secs(1));
    ctx.with_deadline(std::time::Instant::now());
    ctx.with_value(User);
    ctx.with_name("name");
    ctx.without_cancel();
    ctx.merge(&ctx);
    ctx.done();
    ctx.done_owned();
    ctx.run(async {});
    ctx.sleep(Duration::from_secs(1));
    ctx.scope(async {});
    async {}.with_context(&ctx);
    ctx.check();
    let (_ctx, cancel) = ctx.with_cancel();
    std::convert::identity(cancel);
}
