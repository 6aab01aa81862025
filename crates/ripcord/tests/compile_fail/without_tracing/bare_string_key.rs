//! The chapter's "bad" example: a bare string as the key of a value. In Go it compiles, and two packages that both choose
//! "user" read each other's values. A type is the key here, and a type nobody else can name is a key nobody else can take.

use ripcord::Context;

fn main() {
    let ctx = Context::background().with_value("john");
    let _ = ctx.value::<&str>();
}
