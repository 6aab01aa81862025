//! And nobody can make it one: the trait is ours and the type is std's.

use ripcord::Value;

impl Value for String {}

fn main() {}
