//! Every example, run as built, prints what `expected/NAME.txt` says: by the same rules as the core's examples.

#[path = "../../ripcord/tests/examples.rs"]
mod examples;
