//! C17: the time from a cancel until another task notices it.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ripcord::Context;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::harness::{Bench, Measured, percentile};
use crate::report::{Line, TOKIO_UTIL, Target};
use crate::timing::nanoseconds;

/// C17. On a runtime with two workers, one task waits on a child of a live parent, and another task cancels the child. The time is
/// from just before `cancel()` until the woken task runs. The figure of a round is the median of its wakes. The floor is the same
/// with a flag and a waker behind a mutex.
pub(super) fn across_tasks(bench: &Bench) -> Vec<Line> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("the runtime's threads can be started");
    let wakes = bench.size(1000, 5);
    let mut ours = || {
        let (parent, _canceler) = Context::background().with_cancel();
        median_wake(&runtime, wakes, move || {
            let (child, canceler) = parent.with_cancel();
            (async move { _ = child.done().await }, move || canceler.cancel())
        })
    };
    let mut rivals = || {
        let parent = CancellationToken::new();
        median_wake(&runtime, wakes, move || {
            let child = parent.child_token();
            let token = child.clone();
            (async move { child.cancelled().await }, move || token.cancel())
        })
    };
    let mut bare = || {
        median_wake(&runtime, wakes, || {
            let signal = Arc::new(Signal::default());
            let waiter = Arc::clone(&signal);
            (async move { waiter.wait().await }, move || signal.set())
        })
    };
    let [[ours], [rivals], [bare]] = bench.interleave(bench.many_rounds(), [&mut ours, &mut rivals, &mut bare]);
    let measured = Measured::new(ours, rivals).with_floor("wake of a task", bare);
    vec![Line::time("C17", "cancel to wake, across tokio tasks", measured, TOKIO_UTIL, Target::NoWorse(0.05))]
}

/// The minimum for a wait for one event: a flag and a waker.
#[derive(Default)]
struct Signal(Mutex<(bool, Option<Waker>)>);

impl Signal {
    async fn wait(&self) {
        std::future::poll_fn(|task| {
            let mut state = self.0.lock().expect("nothing panics under the lock");
            if state.0 {
                return Poll::Ready(());
            }
            state.1 = Some(task.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn set(&self) {
        let waker = {
            let mut state = self.0.lock().expect("nothing panics under the lock");
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Returns the median time of a wake. `pair` creates a future that waits and the function that wakes it.
fn median_wake<W, C>(runtime: &Runtime, wakes: usize, pair: impl Fn() -> (W, C) + Send + 'static) -> Option<[f64; 1]>
where
    W: Future<Output = ()> + Send + 'static,
    C: FnOnce() + Send + 'static,
{
    let canceling = async move {
        let mut latencies = Vec::with_capacity(wakes);
        for _ in 0..wakes {
            let (waiting, cancel) = pair();
            latencies.push(nanoseconds(wake(waiting, cancel).await));
        }
        latencies
    };
    let latencies = runtime.block_on(async { tokio::spawn(canceling).await.expect("no task panics") });
    percentile(&latencies, 50).map(|median| [median])
}

async fn wake(waiting: impl Future<Output = ()> + Send + 'static, cancel: impl FnOnce()) -> Duration {
    let parked = Arc::new(AtomicBool::new(false));
    let waiter = tokio::spawn({
        let parked = Arc::clone(&parked);
        async move {
            let mut waiting = pin!(waiting);
            std::future::poll_fn(|task| {
                let polled = waiting.as_mut().poll(task);
                if polled.is_pending() {
                    parked.store(true, SeqCst);
                }
                polled
            })
            .await;
            Instant::now()
        }
    });
    while !parked.load(SeqCst) {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    cancel();
    waiter.await.expect("waiting does not panic") - start
}
