//! What several test files need: wakers that count, a root on manual time, races, and assertions which ask a
//! context every question at once.
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

/// Longer than any honest run of one test, so that a hang becomes a failure. Nothing waits for it to pass.
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

/// Never put into a context by any test.
#[derive(Debug)]
pub(crate) struct Absent;
impl Value for Absent {}

// ===== time =====

/// A root on a clock which stands still until the test moves it. It starts an hour in, so that a deadline in the past
/// can be written down as `time.now() - d`.
pub(crate) fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    time.advance(HOUR);
    (Context::background().with_clock(clock), time)
}

/// A context to merge with that never ends and says nothing, and is no mere root, with which a merge is nothing.
pub(crate) fn other() -> Context {
    Context::background().with_value(Other)
}

#[derive(Debug)]
struct Other;
impl Value for Other {}

// ===== wakers =====

/// Counts how often it was woken. How many clones of its waker are alive is seen in [`Wakes::held`].
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

    /// How many clones of the waker somebody still holds, when the test itself holds one `Arc` and no `Waker`.
    pub(crate) fn held(self: &Arc<Wakes>) -> usize {
        Arc::strong_count(self) - 1
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Wakes>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waker which runs a closure each time it is woken, on the thread that wakes it: an inline executor in miniature.
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

/// Pending `n` times, waking itself each time, then ready.
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

// ===== what a context says =====

/// All the answers of a live context.
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

/// All the answers of a context that ended with `kind`, for the reason the one who ended it gave, if one was given.
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

/// Adds one, as callbacks and wakers do to say that they ran.
pub(crate) fn bump(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::SeqCst);
}

/// Numbers that look random and are the same for the same seed (splitmix64).
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

/// Runs `f` on a thread of its own and fails, instead of hanging, when it does not come back.
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

/// The number of rounds of a race: `most`, or few under Miri, where each takes a second. `scripts/repeat` runs the tests hundreds of
/// times and asks for a tenth.
pub(crate) fn rounds<T: From<u8> + std::ops::Div<Output = T>>(most: T) -> T {
    if cfg!(miri) {
        T::from(3)
    } else if std::env::var_os("FEWER_ROUNDS").is_some() {
        most / T::from(10)
    } else {
        most
    }
}

/// Two closures let go at the same moment on two threads. The gate spins, so that the moment is the same.
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

/// Lets nobody through before `n` threads have come.
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

/// A few instructions more or less, so that the rounds of a race meet at different places.
pub(crate) fn jitter(round: usize) {
    for _ in 0..round % 97 {
        std::hint::spin_loop();
    }
}

/// What `f` gives before it is at `deadline` by the real clock: a bounded wait for another thread, never a sleep.
#[track_caller]
pub(crate) fn eventually(what: &str, f: impl Fn() -> bool) {
    let start = Instant::now();
    while !f() {
        assert!(start.elapsed() < HANG, "{what}: never came true");
        thread::yield_now();
    }
}
