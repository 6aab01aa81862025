//! Waiting and running futures on plain threads.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use crate::context::Context;
use crate::error::Error;

impl Context {
    /// Blocks the thread until the context ends. Returns the context's error.
    ///
    /// This method is for threads. Async code must use [`done`](Context::done) instead, because this method would block
    /// the executor's thread. If nothing can end the context, the call blocks forever.
    ///
    /// The context's [clock](Context::clock) determines when a deadline ends the call. With a
    /// [manual clock](crate::Clock::manual), another thread must advance the time. With `Clock::tokio`, another thread must
    /// run the runtime.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let ctx = Context::background().with_timeout(Duration::from_millis(1));
    /// assert!(ctx.wait().is_deadline_exceeded());
    /// ```
    pub fn wait(&self) -> Error {
        let mut done = pin!(self.done());
        Parker::with(|parker| {
            let mut task = std::task::Context::from_waker(&parker.waker);
            loop {
                if let Poll::Ready(error) = done.as_mut().poll(&mut task) {
                    return error;
                }
                match self.remaining_of_system() {
                    Some(left) => std::thread::park_timeout(left),
                    None => std::thread::park(),
                }
                // The clock is also checked here, because the timer's thread may be late or missing.
                if let Some(error) = self.err() {
                    return error;
                }
            }
        })
    }

    /// Blocks the thread until the context ends, for at most `timeout`. Returns the context's error, or `None` if the
    /// context has not ended.
    ///
    /// This method is for threads. Async code must use `ctx.with_timeout(timeout).done()` instead. The context's
    /// [clock](Context::clock) measures the timeout. If the context ends at the instant at which the timeout expires, the
    /// error is returned.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert!(ctx.wait_timeout(Duration::from_millis(1)).is_none());
    /// cancel.cancel();
    /// assert!(ctx.wait_timeout(Duration::from_secs(60)).is_some());
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Error> {
        self.timer(timeout).wait();
        self.err()
    }

    /// Blocks the thread for `duration`, or until the context ends. The context's [clock](Context::clock) measures the
    /// duration.
    ///
    /// This method is for threads. Async code must use [`sleep`](Context::sleep) instead, because this method would block
    /// the executor's thread.
    ///
    /// # Errors
    ///
    /// Returns the context's error if the context ended first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// assert!(ctx.sleep_blocking(Duration::from_millis(1)).is_ok());
    /// cancel.cancel();
    /// assert!(ctx.sleep_blocking(Duration::from_secs(60)).is_err());
    /// ```
    pub fn sleep_blocking(&self, duration: Duration) -> Result<(), Error> {
        let sleep = self.sleep(duration);
        sleep.context().wait();
        block_on(sleep)
    }
}

/// Runs a future on the current thread. Blocks the thread until the future is ready, and returns the future's output.
///
/// Use this function to call async code from a plain thread. Do not call it from async code, because it would block the
/// executor's thread. In a task of tokio, it also needs the feature `tokio`. Without it, a call that polls a future of tokio never
/// returns if the task has used up its budget.
///
/// The futures of this crate need no runtime. A future that uses the timers or the I/O of a runtime needs that runtime.
/// For a future of tokio, call `block_on` of tokio's `Runtime` instead.
///
/// # Panics
///
/// Panics if the future panics.
///
/// ```
/// use std::time::Duration;
/// use ripcord::{Context, block_on};
///
/// let ctx = Context::background().with_timeout(Duration::from_millis(1));
/// assert!(block_on(ctx.run(std::future::pending::<()>())).is_err());
/// ```
// Inlined, so that the future is created where it is polled and not moved there.
#[inline]
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    Parker::with(|parker| {
        let mut task = std::task::Context::from_waker(&parker.waker);
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return output;
        }
        // A task of tokio gets a new budget only when it yields, which it does not do here. If the budget is used up, the futures of
        // tokio are not ready and wake the task when it yields. So the future is polled again at once, without a budget.
        #[cfg(feature = "tokio")]
        let mut future = pin!(tokio::task::unconstrained(future.as_mut()));
        #[cfg(not(feature = "tokio"))]
        parker.park();
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
                return output;
            }
            parker.park();
        }
    })
}

thread_local! {
    /// The thread's parker. It is kept, because creating a parker costs more than polling a future that is ready.
    static PARKER: RefCell<Parker> = RefCell::new(Parker::new());
}

/// Parks the thread that it was created on, and wakes it.
struct Parker {
    signal: Arc<Signal>,
    waker: Waker,
}

impl Parker {
    fn new() -> Parker {
        let signal = Arc::new(Signal { woken: AtomicBool::new(false), thread: std::thread::current() });
        Parker { waker: Waker::from(Arc::clone(&signal)), signal }
    }

    /// Calls `run` once, with the thread's parker. A nested call gets a new parker, so that neither call consumes the wakes of
    /// the other. A call at the end of the thread also gets a new parker.
    fn with<R>(mut run: impl FnMut(&Parker) -> R) -> R {
        let output = PARKER.try_with(|parker| Some(run(&*parker.try_borrow_mut().ok()?)));
        output.ok().flatten().unwrap_or_else(|| run(&Parker::new()))
    }

    /// Blocks the thread until the waker is woken, unless it was woken after the last call.
    fn park(&self) {
        // A flag records the wake. The thread's park token is not used, because code inside the future that parks the thread,
        // such as a channel, consumes the token.
        while !self.signal.woken.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
    }
}

/// The state that a waker sets.
struct Signal {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
