//! The worlds in which the tasks of a group run. Each scenario runs on threads with a bare executor, and on tokio.

use std::future::poll_fn;
use std::sync::mpsc;
use std::task::Poll;

use crate::common::HANG;
use ripcord::{BoxFuture, Cause, Context, Group};

/// Runs a group's tasks, and waits for the group.
pub(crate) trait World: Send + Sync + Copy + 'static {
    fn group(self, ctx: &Context) -> (Group, Context);
    fn block_on<F: Future>(self, f: F) -> F::Output;
}

/// A thread for each task.
#[derive(Clone, Copy)]
pub(crate) struct Threads;

impl World for Threads {
    fn group(self, ctx: &Context) -> (Group, Context) {
        Group::with_executor(ctx, |task: BoxFuture| {
            std::thread::spawn(move || futures::executor::block_on(task));
        })
    }
    fn block_on<F: Future>(self, f: F) -> F::Output {
        futures::executor::block_on(f)
    }
}

#[cfg(feature = "tokio")]
#[derive(Clone, Copy)]
pub(crate) struct Tokio {
    pub(crate) threads: usize,
}

#[cfg(feature = "tokio")]
impl World for Tokio {
    fn group(self, ctx: &Context) -> (Group, Context) {
        Group::new(ctx)
    }
    fn block_on<F: Future>(self, f: F) -> F::Output {
        let mut builder = match self.threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(self.threads).enable_all().build().expect("a runtime");
        let result = runtime.block_on(f);
        // A task that was not dropped would hang here.
        drop(runtime);
        result
    }
}

/// Defines the same scenario in each world.
macro_rules! everywhere {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        mod on_threads {
            $($(#[$doc])* #[test] fn $name() { crate::common::within(stringify!($name), || super::$name(crate::worlds::Threads)); })*
        }
        #[cfg(feature = "tokio")]
        mod on_tokio_with_one_thread {
            $($(#[$doc])* #[test] fn $name() { crate::common::within(stringify!($name), || super::$name(crate::worlds::Tokio { threads: 1 })); })*
        }
        #[cfg(feature = "tokio")]
        mod on_tokio_with_two_threads {
            $($(#[$doc])* #[test] fn $name() { crate::common::within(stringify!($name), || super::$name(crate::worlds::Tokio { threads: 2 })); })*
        }
    };
}

pub(crate) use everywhere;

pub(crate) fn ok() -> Result<(), Cause> {
    Ok(())
}

/// Waits, in a task, until `n` messages have arrived from other tasks or threads. (A group starts no task after its end, so a
/// test about running tasks has to wait until they have started.)
pub(crate) async fn heard(receiver: &mpsc::Receiver<()>, n: usize) {
    let start = std::time::Instant::now();
    let mut seen = 0;
    poll_fn(|task| {
        seen += receiver.try_iter().count();
        assert!(start.elapsed() < HANG / 2, "heard from {seen} of {n}");
        if seen >= n {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
