//! Neither does a `String` say whose value it is.

use ripcord::Context;

fn main() {
    let ctx = Context::background();
    let ctx = ctx.with_value(String::from("john"));
    let _ = ctx.value::<String>();
}
