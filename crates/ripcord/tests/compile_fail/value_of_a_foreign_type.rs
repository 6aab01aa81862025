//! Users cannot implement the trait for a type of the standard library, because they own neither of the two.

use ripcord::Value;

impl Value for String {}

fn main() {}
