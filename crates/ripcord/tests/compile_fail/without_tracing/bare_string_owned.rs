//! A `String` cannot be a value either.

use ripcord::Context;

fn main() {
    let ctx = Context::background();
    let ctx = ctx.with_value(String::from("john"));
    let _ = ctx.value::<String>();
}
