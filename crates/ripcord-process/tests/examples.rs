//! Each example prints the text in `expected/NAME.txt`. The rules are the same as for the examples of ripcord-http.
#![cfg(target_os = "linux")]

#[path = "common/examples.rs"]
mod examples;
