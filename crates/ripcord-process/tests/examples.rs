//! Every example prints what `expected/NAME.txt` says: by the rules of ripcord-http's examples.
#![cfg(target_os = "linux")]

#[path = "../../ripcord-http/tests/examples.rs"]
mod examples;
