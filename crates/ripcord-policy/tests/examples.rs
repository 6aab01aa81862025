//! Each built example prints the text in `expected/NAME.txt`. The rules are the same as for the core's examples.

#[path = "../../ripcord/tests/examples.rs"]
mod examples;
