//! The most hostile user code: wakers that panic or call back, values that use contexts when they are dropped, and threads that
//! end with contexts in their thread-locals.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as Task, Wake, Waker};
use std::thread;

use ripcord::{CancelHandle, Context, DoneOwned, Value};

/// The payload of every deliberate panic. Its drop panics again.
struct Deliberate;

impl Drop for Deliberate {
    fn drop(&mut self) {
        if !thread::panicking() {
            std::panic::panic_any("the payload of a deliberate panic is dropped");
        }
    }
}

/// Keeps the messages of deliberate panics out of the output.
pub(crate) fn silence_deliberate_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let is_deliberate = payload.is::<Deliberate>()
            || payload.downcast_ref() == Some(&"the payload of a deliberate panic is dropped");
        if !is_deliberate {
            hook(info);
        }
    }));
}

/// Counts live objects. The count is incremented at each creation and decremented at each drop.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(living: &Arc<AtomicUsize>) -> Self {
        living.fetch_add(1, Ordering::SeqCst);
        Counted(Arc::clone(living))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A value that derives, waits and cancels when it is dropped, and then may panic.
pub(crate) struct Busy {
    pub(crate) below: Context,
    pub(crate) cancels: Option<CancelHandle>,
    pub(crate) panics: bool,
    pub(crate) _counted: Counted,
}

impl Value for Busy {}

impl Drop for Busy {
    fn drop(&mut self) {
        let (ctx, cancel) = self.below.with_cancel();
        let mut done = ctx.done_owned();
        let first = Pin::new(&mut done).poll(&mut Task::from_waker(Waker::noop()));
        cancel.cancel_with("from a drop");
        assert!(ctx.is_done() && Pin::new(&mut done).poll(&mut Task::from_waker(Waker::noop())).is_ready());
        assert!(first.is_pending() || ctx.err().is_some());
        if let Some(handle) = &self.cancels {
            handle.cancel_with("from the drop of a value");
        }
        if self.panics {
            std::panic::panic_any(Deliberate);
        }
    }
}

/// The action of a waker besides counting.
#[derive(Clone, Copy)]
pub(crate) enum Habit {
    Quiet,
    Panics,
    /// Cancels another context and queries its own context.
    CallsBack,
}

/// A waker that counts its wakes and has a habit.
pub(crate) struct Wakes {
    pub(crate) count: AtomicUsize,
    pub(crate) habit: Habit,
    pub(crate) ctx: Context,
    pub(crate) other: Option<CancelHandle>,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        match self.habit {
            Habit::Quiet => {}
            Habit::Panics => std::panic::panic_any(Deliberate),
            Habit::CallsBack => {
                assert!(self.ctx.is_done(), "woken before the end");
                drop(self.ctx.with_cancel());
                if let Some(other) = &self.other {
                    other.cancel_with("from a waker");
                }
            }
        }
    }
}

/// The value of a thread-local. It outlives the crate's own thread-locals, because it was initialized before them.
struct Last(Option<(Context, DoneOwned)>);

impl Drop for Last {
    fn drop(&mut self) {
        let Some((ctx, mut done)) = self.0.take() else { return };
        let (child, cancel) = ctx.with_cancel();
        let first = Pin::new(&mut done).poll(&mut Task::from_waker(Waker::noop()));
        assert!(first.is_pending() || ctx.is_done());
        drop(ctx);
        cancel.cancel_with("from a thread that ends");
        assert!(child.is_done());
    }
}

/// Uses a context on a new thread, and again during the drop of that thread's locals.
pub(crate) fn use_in_an_ending_thread(ctx: Context) {
    thread_local! {
        static LAST: RefCell<Last> = const { RefCell::new(Last(None)) };
    }
    let ending = thread::spawn(move || {
        LAST.with_borrow_mut(|last| {
            let mut done = ctx.done_owned();
            if Pin::new(&mut done).poll(&mut Task::from_waker(Waker::noop())).is_pending() {
                last.0 = Some((ctx, done));
            }
        });
    });
    assert!(ending.join().is_ok(), "a thread panicked");
}
