//! `detach` consumes the canceler.

use ripcord::Context;

fn main() {
    let (_ctx, cancel) = Context::background().with_cancel();
    cancel.detach();
    cancel.cancel();
}
