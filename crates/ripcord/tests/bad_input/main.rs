//! Bad input. Each input has a documented outcome, nothing hangs, and no wakeup is lost.

#[path = "../common/mod.rs"]
mod common;

mod deadlines;
mod drops;
mod handles;
mod runtime;
mod wakers;
