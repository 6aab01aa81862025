//! The task group: Go's errgroup, structured. Every scenario on threads with a bare executor, and on tokio.
//!
//! What holds of a group: the first real error cancels the siblings and is what `wait` reports; a panic cancels them too
//! and comes out of `wait`; `wait` returns only when every task has ended; nothing starts after the cancel; a limit is a
//! limit; a group that is dropped cancels and drops its tasks.

#[path = "../common/mod.rs"]
mod common;

mod executors;
mod panics;
mod results;
mod structure;
mod worlds;
