//! The switch between the types of the standard library and tokio, and the types of shuttle.
//!
//! `RUSTFLAGS="--cfg ripcord_shuttle"` builds the pool, the limiter's bucket, the breaker, the semaphore and the flights of the
//! cache with shuttle's types. The models in `src/shuttle_models` then run the shipped code in many different orders. Contexts,
//! tokio's semaphore and its `Notify`, the counters, and the cache's store with its entries do not change: shuttle treats each of
//! their operations as one step. (Shuttle must not switch threads in the middle of such an operation while it holds a lock
//! unknown to shuttle. The other threads would wait forever.)

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

    /// The runtime for a pool's workers and a cache's loads.
    #[derive(Clone)]
    pub(crate) struct Runtime(tokio::runtime::Handle);

    impl Runtime {
        /// Returns the tokio runtime of the caller, if there is one.
        pub(crate) fn try_current() -> Option<Self> {
            tokio::runtime::Handle::try_current().ok().map(Self)
        }

        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(self.0.spawn(task));
        }
    }

    /// Returns the context of the current scope.
    pub(crate) fn current_context() -> Option<Context> {
        Some(Context::current())
    }

    /// Registers `callback`, which runs when `ctx` ends.
    pub(crate) fn after_func(ctx: &Context, callback: impl FnOnce() + Send + 'static) -> Option<AfterFunc> {
        Some(ctx.after_func(callback))
    }

    /// Runs `work` on a thread that may block. Returns when the work has ended or the runtime has dropped it.
    pub(crate) async fn run_blocking(work: impl FnOnce() + Send + 'static) {
        drop(tokio::task::spawn_blocking(work).await);
    }

    /// Marks a step that shuttle does not notice. Shuttle may switch to another thread here.
    pub(crate) fn step() {}

    /// Yields to other tasks of the runtime if this task has run for long.
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

    /// A replacement for the standard `OnceLock`, because shuttle has none.
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
            // With the first load alone, shuttle could switch threads only before the read. This load lets it switch after the
            // read too.
            let _ = self.is_set.load(Ordering::Acquire);
            if seen { self.value.get() } else { None }
        }
    }

    /// Returns `None`: shuttle's threads share one real thread and its current context.
    pub(crate) fn current_context() -> Option<Context> {
        None
    }

    /// Returns `None`: shuttle would not know the callback's thread. Each model runs the code that follows the end of a
    /// context.
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
