//! Semaphore, mutex and channels whose waits end with a context. Futures are polled by hand, outside of any runtime.
#![cfg(feature = "sync")]

#[path = "../common/mod.rs"]
mod common;

mod mpsc;
mod mutex;
mod oneshot;
mod semaphore;
mod threads;

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use ripcord::{Canceler, Context};

fn cancelable() -> (Context, Canceler) {
    Context::background().with_cancel()
}

/// Polls a future with a waker that does nothing.
fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    common::poll_pinned(future, std::task::Waker::noop())
}

/// Returns the output of a future that is ready at its first poll.
#[track_caller]
fn now<F: Future>(future: F) -> F::Output {
    match poll(std::pin::pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is pending"),
    }
}
