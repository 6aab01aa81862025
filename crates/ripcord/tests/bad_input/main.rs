//! Bad input: each with a documented outcome; nothing hangs, nothing is lost.

#[path = "../common/mod.rs"]
mod common;

mod deadlines;
mod drops;
mod handles;
mod runtime;
mod wakers;
