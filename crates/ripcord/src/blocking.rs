//! Waiting on plain threads.

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
    /// Blocks the thread until the context ends, and returns its error. Blocks forever if nothing can end the context.
    ///
    /// For threads. In async code it would block the executor: use [`done`](Context::done) there. On a manual clock, another
    /// thread has to advance the time; on tokio's clock, another thread of the runtime has to run. On the system's clock the
    /// thread sees its deadline itself, so it needs no other thread.
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
                // The clock is asked here too: the timer's thread may be late, or there may be none.
                if let Some(error) = self.err() {
                    return error;
                }
            }
        })
    }

    /// Blocks as [`wait`](Context::wait) does, for at most `timeout` by this context's clock. Returns `None` if the context has
    /// not ended by then. If both happen at the same time, the end wins.
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

    /// Blocks the thread for `duration` by this context's clock, or until the context ends. [`sleep`](Context::sleep) for threads.
    ///
    /// # Errors
    ///
    /// The context's error, if the context ended first.
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

/// Polls a future on this thread, which it blocks, until the future is ready.
///
/// It lets plain threads call everything that is async. Do not call it from async code: it blocks the executor's thread. A
/// future that needs a runtime's timer or I/O, such as tokio's, needs that runtime entered or running elsewhere; the futures of
/// this crate need none.
///
/// # Panics
///
/// If the future panics.
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
        loop {
            match future.as_mut().poll(&mut task) {
                Poll::Ready(output) => return output,
                Poll::Pending => parker.park(),
            }
        }
    })
}

thread_local! {
    /// Creating one costs more than polling a future that is ready, so each thread keeps one.
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

    /// Calls `run` once, with the thread's parker. A call within another one gets a parker of its own, so that neither takes the
    /// other's wakes. So does a call at the end of the thread.
    fn with<R>(mut run: impl FnMut(&Parker) -> R) -> R {
        let output = PARKER.try_with(|parker| Some(run(&*parker.try_borrow_mut().ok()?)));
        output.ok().flatten().unwrap_or_else(|| run(&Parker::new()))
    }

    /// Blocks the thread until the waker has been woken since the last call.
    fn park(&self) {
        // The flag says it, not the thread's token: whatever parks inside the future, such as a channel, takes that away.
        while !self.signal.woken.swap(false, Ordering::Acquire) {
            std::thread::park();
        }
    }
}

/// What a waker sets.
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
