//! The chapter's "bad" example: a bare string as the key of a value. In Go it compiles, and two packages that both use
//! "user" read each other's values. Here the key is a type, and other crates cannot use a private type as a key.

use ripcord::Context;

fn main() {
    let ctx = Context::background().with_value("john");
    let _ = ctx.value::<&str>();
}
