//! The task group: Go's errgroup, structured. Every scenario runs on threads with a bare executor, and on tokio.
//!
//! The guarantees of a group: the first real error cancels the other tasks, and `wait` reports it. A panic also cancels them,
//! and `wait` resumes it. `wait` returns only when every task has ended. No task starts after the cancel. The limit is never
//! exceeded. A dropped group cancels and drops its tasks.

#[path = "../common/mod.rs"]
mod common;

mod executors;
mod panics;
mod results;
mod structure;
mod worlds;
