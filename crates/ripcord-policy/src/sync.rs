//! The one switch between the standard library's and tokio's means and shuttle's.
//!
//! `RUSTFLAGS="--cfg ripcord_shuttle"` builds the pool, the limiter's bucket, the breaker, the semaphore and the flights of the cache
//! on shuttle's, so that the models in `src/shuttle_models` run the code that ships in as many orders as they are told to.
//! Contexts, tokio's semaphore and its `Notify`, the counters, and the cache's store with its entries stay as they are: to shuttle
//! what they do is one step. (In the middle of one that holds a lock shuttle does not know of, others would wait for ever.)

#[cfg(not(ripcord_shuttle))]
pub(crate) use std_types::*;

#[cfg(ripcord_shuttle)]
pub(crate) use shuttle_types::*;

#[cfg(not(ripcord_shuttle))]
mod std_types {
    use std::future::Future;

    use ripcord::{AfterFunc, Context};

    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use std::sync::{Mutex, MutexGuard, OnceLock};
    pub(crate) use std::thread_local;

    /// Where a pool's workers run, and a cache's loads.
    #[derive(Clone)]
    pub(crate) struct Runtime(tokio::runtime::Handle);

    impl Runtime {
        /// The tokio runtime that the caller is in.
        pub(crate) fn try_current() -> Option<Self> {
            tokio::runtime::Handle::try_current().ok().map(Self)
        }

        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(self.0.spawn(task));
        }
    }

    /// The context whose scope this code runs in.
    pub(crate) fn current_context() -> Option<Context> {
        Some(Context::current())
    }

    /// Has `callback` run when `ctx` ends.
    pub(crate) fn after_func(ctx: &Context, callback: impl FnOnce() + Send + 'static) -> Option<AfterFunc> {
        Some(ctx.after_func(callback))
    }

    /// Runs `work` on a thread that may block, and comes back when it has ended or there is no such thread any more.
    pub(crate) async fn run_blocking(work: impl FnOnce() + Send + 'static) {
        drop(tokio::task::spawn_blocking(work).await);
    }

    /// Tells shuttle of a step that it cannot know of, where others may come in.
    #[inline]
    pub(crate) fn step() {}

    /// Lets other tasks of the runtime run, if this one has run for long.
    pub(crate) async fn give_way() {
        tokio::task::coop::consume_budget().await;
    }
}

#[cfg(ripcord_shuttle)]
mod shuttle_types {
    use std::future::Future;

    use ripcord::{AfterFunc, Context};

    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
    pub(crate) use shuttle::thread_local;

    #[derive(Clone)]
    pub(crate) struct Runtime;

    impl Runtime {
        pub(crate) fn try_current() -> Option<Self> {
            Some(Self)
        }

        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(shuttle::future::spawn(task));
        }
    }

    /// Shuttle has none of its own.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        is_set: AtomicBool,
        value: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) const fn new() -> Self {
            Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            self.value.set(value)?;
            self.is_set.store(true, Ordering::Release);
            Ok(())
        }

        pub(crate) fn get(&self) -> Option<&T> {
            let seen = self.is_set.load(Ordering::Acquire);
            // Others may come in after the look as well as before it, which the first load alone lets them.
            let _ = self.is_set.load(Ordering::Acquire);
            if seen { self.value.get() } else { None }
        }
    }

    /// Shuttle's threads share one real thread, and with it the current context.
    pub(crate) fn current_context() -> Option<Context> {
        None
    }

    /// Its thread would be none that shuttle knows of. A model does itself what is to follow an end.
    pub(crate) fn after_func(_: &Context, _: impl FnOnce() + Send + 'static) -> Option<AfterFunc> {
        None
    }

    pub(crate) async fn run_blocking(work: impl FnOnce() + Send + 'static) {
        shuttle::future::spawn(async move { work() }).await.ok();
    }

    pub(crate) fn step() {
        let _ = AtomicBool::new(false).load(Ordering::Relaxed);
    }

    pub(crate) async fn give_way() {}
}
