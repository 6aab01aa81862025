//! A value lives as long as every context that carries it, so it cannot borrow.

use ripcord::{Context, Value};

struct Borrowed<'a>(&'a str);
impl Value for Borrowed<'_> {}

fn main() {
    let name = String::from("john");
    let _ctx = Context::background().with_value(Borrowed(&name));
}
