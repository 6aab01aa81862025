//! Helpers of several test files: wakers that count, a root on manual time, races, and assertions that use every query of a
//! context.
#![allow(dead_code, reason = "each test binary takes the part it needs")]

pub(crate) mod observers;
pub(crate) mod time;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use ripcord::{Clock, Context, Error, ErrorKind, ManualTime, Value};

/// Longer than any successful run of one test, so that a hang becomes a failure. No test waits for this time to pass.
pub(crate) const HANG: Duration = Duration::from_secs(60);

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

// ===== values =====

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User(pub(crate) u32);
impl Value for User {}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace(pub(crate) String);
impl Value for Trace {}

/// A value that no test puts into a context.
#[derive(Debug)]
pub(crate) struct Absent;
impl Value for Absent {}

// ===== time =====

/// Returns a root on a clock that is stopped until the test advances it. The clock starts at one hour, so that a deadline in
/// the past can be written as `time.now() - d`.
pub(crate) fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    time.advance(HOUR);
    (Context::background().with_clock(clock), time)
}

/// Returns a context to merge with. It never ends, and it is not a root, because a merge with a root returns the other context.
pub(crate) fn other() -> Context {
    Context::background().with_value(Other)
}

#[derive(Debug)]
struct Other;
impl Value for Other {}

// ===== wakers =====

/// Counts its wakes. [`Wakes::held`] returns the number of live clones of its waker.
#[derive(Debug, Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn new() -> Arc<Wakes> {
        Arc::default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn waker(self: &Arc<Wakes>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Returns the number of live clones of the waker. The test itself must hold one `Arc` and no `Waker`.
    pub(crate) fn held(self: &Arc<Wakes>) -> usize {
        Arc::strong_count(self) - 1
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Wakes>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Returns a waker that calls a closure at each wake, on the thread that wakes it, like a minimal inline executor.
pub(crate) fn waker_fn(f: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Call<F>(F);
    impl<F: Fn() + Send + Sync + 'static> Wake for Call<F> {
        fn wake(self: Arc<Self>) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Call(f)))
}

pub(crate) fn poll<F: Future + Unpin>(future: &mut F, wakes: &Arc<Wakes>) -> Poll<F::Output> {
    poll_with(future, &wakes.waker())
}

pub(crate) fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut std::task::Context::from_waker(waker))
}

pub(crate) fn poll_pinned<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(waker))
}

/// Pending `n` times, then ready. Wakes itself each time.
#[derive(Debug)]
pub(crate) struct Yields(pub(crate) usize);

impl Future for Yields {
    type Output = &'static str;
    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<&'static str> {
        if self.0 == 0 {
            return Poll::Ready("result");
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// ===== the state of a context =====

/// Asserts that every query reports that the context has not ended.
#[track_caller]
pub(crate) fn assert_live(ctx: &Context) {
    assert!(!ctx.is_done(), "{ctx} is done");
    assert!(ctx.err().is_none(), "{ctx} has an error");
    assert!(ctx.check().is_ok(), "{ctx} fails its check");
    assert!(ctx.cause().is_none(), "{ctx} has a cause");
}

#[track_caller]
pub(crate) fn assert_canceled(ctx: &Context, cause: Option<&str>) {
    assert_ended(ctx, ErrorKind::Canceled, cause);
}

#[track_caller]
pub(crate) fn assert_exceeded(ctx: &Context, cause: Option<&str>) {
    assert_ended(ctx, ErrorKind::DeadlineExceeded, cause);
}

/// Asserts that every query reports an end of kind `kind`, with the given cause if there is one.
#[track_caller]
pub(crate) fn assert_ended(ctx: &Context, kind: ErrorKind, cause: Option<&str>) {
    assert!(ctx.is_done(), "{ctx} is not done");
    let error = ctx.err().expect("a context that is done has an error");
    assert_error(&error, kind, cause);
    assert_error(&ctx.check().expect_err("a context that is done fails its check"), kind, cause);
    let of_context = ctx.cause().expect("a context that is done has a cause");
    assert_eq!(of_context.to_string(), cause.map_or_else(|| error.to_string(), str::to_owned));
    let Poll::Ready(error) = poll(&mut ctx.done(), &Wakes::new()) else {
        panic!("done() of {ctx} is pending although it is done");
    };
    assert_error(&error, kind, cause);
    assert_error(&ctx.wait(), kind, cause);
    assert_error(&ctx.wait_timeout(Duration::ZERO).expect("done"), kind, cause);
}

#[track_caller]
pub(crate) fn assert_error(error: &Error, kind: ErrorKind, cause: Option<&str>) {
    assert_eq!(error.kind(), kind, "{error:#}");
    assert_eq!(error.is_canceled(), kind == ErrorKind::Canceled);
    assert_eq!(error.is_deadline_exceeded(), kind == ErrorKind::DeadlineExceeded);
    assert_eq!(error.cause().map(ToString::to_string).as_deref(), cause, "{error:#}");
    let text = if error.is_canceled() { "context canceled" } else { "context deadline exceeded" };
    assert_eq!(error.to_string(), text);
}

/// Adds one. Callbacks and wakers call this to record that they ran.
pub(crate) fn bump(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::SeqCst);
}

/// Pseudorandom numbers that are the same for the same seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).expect("below n")
    }
}

// ===== threads =====

/// Runs `f` on its own thread. Panics, instead of hanging, if `f` does not return.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(what: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().name(what.to_owned()).spawn(move || drop(sender.send(f()))).expect("a thread");
    match receiver.recv_timeout(HANG) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let panic = thread.join().expect_err("it sent nothing, so it panicked");
            std::panic::resume_unwind(panic)
        }
    }
}

/// Returns the number of rounds of a race: `most`, or 3 under Miri, where each round takes a second. `scripts/repeat` runs the
/// tests hundreds of times and sets a tenth of `most`.
pub(crate) fn rounds<T: From<u8> + std::ops::Div<Output = T>>(most: T) -> T {
    if cfg!(miri) {
        T::from(3)
    } else if std::env::var_os("FEWER_ROUNDS").is_some() {
        most / T::from(10)
    } else {
        most
    }
}

/// Runs two closures on two threads that start at the same moment. The gate spins, so that the moment is the same.
pub(crate) fn race<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    let gate = Gate::new(2);
    thread::scope(|scope| {
        let a = scope.spawn(|| {
            gate.pass();
            a()
        });
        gate.pass();
        let b = b();
        (a.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), b)
    })
}

/// A gate that no thread passes until `n` threads have arrived.
#[derive(Debug)]
pub(crate) struct Gate {
    missing: AtomicUsize,
}

impl Gate {
    pub(crate) fn new(n: usize) -> Gate {
        Gate { missing: AtomicUsize::new(n) }
    }

    pub(crate) fn pass(&self) {
        self.missing.fetch_sub(1, Ordering::SeqCst);
        let mut spins = 0_u32;
        while self.missing.load(Ordering::SeqCst) > 0 {
            spins += 1;
            if spins.is_multiple_of(256) {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }
}

/// Spins for a few instructions, depending on the round, so that the rounds of a race meet at different points.
pub(crate) fn jitter(round: usize) {
    for _ in 0..round % 97 {
        std::hint::spin_loop();
    }
}

/// Waits for another thread until `f` returns true, for at most `HANG` of real time. Does not sleep.
#[track_caller]
pub(crate) fn eventually(what: &str, f: impl Fn() -> bool) {
    let start = Instant::now();
    while !f() {
        assert!(start.elapsed() < HANG, "{what}: never came true");
        thread::yield_now();
    }
}
