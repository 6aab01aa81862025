//! Tasks spawned on tokio's runtime: the results of their handles, and when the tasks are gone.
#![cfg(feature = "tokio")]
#![allow(clippy::async_yields_async, reason = "handles of tasks are what is tested")]

#[path = "../common/mod.rs"]
mod common;

mod blocking;
mod counting;
mod ends;
mod panics;
mod runtimes;

use std::panic::Location;

use ripcord::TaskError;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn block_on<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Runs a closure when dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Polls all tasks of a current-thread runtime until none makes progress.
async fn settle() {
    for _ in 0..8 {
        yield_now().await;
    }
}

fn ended<T: std::fmt::Debug>(result: Result<T, TaskError>) -> ripcord::Error {
    match result {
        Err(TaskError::Ended(error)) => error,
        other => panic!("not ended, but {other:?}"),
    }
}

#[track_caller]
fn line() -> u32 {
    Location::caller().line()
}
