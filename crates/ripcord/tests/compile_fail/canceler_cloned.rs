//! A canceler cancels when it is dropped, so it cannot be cloned. Its `handle()`s can.

use ripcord::Context;

fn main() {
    let (_ctx, cancel) = Context::background().with_cancel();
    let _other = cancel.clone();
}
