//! One small model for each race. loom runs a model with every possible interleaving of its threads.
//!
//! `scripts/loom` runs the models. They use the public API of the released code. Only the atomics are loom's. loom also checks
//! the accesses to non-atomic memory (`atomic::Access`): to the cells, and to each node when it is used and when it is freed.

mod after_func;
mod ending;
mod freeing;
mod merging;
mod moving;
mod shielding;
mod shutdown;
mod timers;
#[cfg(feature = "tokio-util")]
mod tokens;
mod waiting;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{self, Poll, Wake, Waker};

use crate::atomic::propagations;
use crate::raw::node::memory::kept;
use crate::{Canceler, Context, Error};

/// Checks a model in every order with at most `LOOM_MAX_PREEMPTIONS` preemptions. Also checks that the model frees every node.
fn model(run: impl Fn() + Send + Sync + 'static) {
    loom::model(checked(run));
}

/// Checks a model like `model`, with one preemption fewer. This is for models that would otherwise take minutes.
fn large_model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound - 1);
    builder.check(checked(run));
}

fn checked(run: impl Fn() + Send + Sync + 'static) -> impl Fn() + Send + Sync + 'static {
    move || {
        kept::start();
        // Initialized before a second thread exists, because loom treats the initialization as a synchronization.
        propagations();
        run();
        assert_eq!(kept::alive(), 0, "nodes were not freed");
    }
}

/// A waker that counts its wakes. A model reads the count after it has joined its threads, so an atomic of std is enough.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn new() -> Arc<Self> {
        Arc::default()
    }

    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn poll(future: Pin<&mut impl Future<Output = Error>>, wakes: &Arc<Wakes>) -> Poll<Error> {
    future.poll(&mut task::Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

/// Returns a root, a child and a grandchild, each with its canceler.
fn three_levels() -> [(Context, Canceler); 3] {
    let root = Context::background().with_cancel();
    let child = root.0.with_cancel();
    let grandchild = child.0.with_cancel();
    [root, child, grandchild]
}

/// Returns the cause of a context that has ended.
fn cause(ctx: &Context) -> String {
    ctx.cause().expect("it has ended").to_string()
}
