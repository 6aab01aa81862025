//! Nothing recurses (11): four million levels on a stack of 2 MiB, and a million children that wait at one time. Without
//! optimization, a tenth of each number is used, which would still overflow the stack. `scripts/soak` runs the full numbers.
//!
//! A test of this size holds some hundred megabytes, so the tests run one after another.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Absent, HOUR, SEC, User, Wakes, manual, poll};
use ripcord::{Context, ErrorKind};

const LEVELS: usize = if cfg!(debug_assertions) { 400_000 } else { 4_000_000 };
const CHILDREN: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
const NS: Duration = Duration::from_nanos(1);

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on_two_mebibytes(f: impl FnOnce() + Send + 'static) {
    let _turn = turn();
    let (ended, end) = mpsc::channel::<()>();
    let work = move || {
        let _ended = ended;
        f();
    };
    let thread = thread::Builder::new().stack_size(2 << 20).spawn(work).expect("a thread");
    // If the number of steps were the square of the number of levels, the test would hang.
    assert_ne!(end.recv_timeout(common::HANG), Err(mpsc::RecvTimeoutError::Timeout), "hangs");
    thread.join().expect("it fits the stack");
}

fn chain(root: &Context, levels: usize, link: impl Fn(&Context, usize) -> Context) -> Context {
    (0..levels).fold(root.clone(), |ctx, i| link(&ctx, i))
}

fn cancelable(ctx: &Context) -> Context {
    let (ctx, cancel) = ctx.with_cancel();
    cancel.detach();
    ctx
}

#[test]
fn deep_chain_canceled_observed_and_dropped() {
    on_two_mebibytes(|| {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let leaf = chain(&top, LEVELS, |ctx, _| cancelable(ctx));
        assert!(!leaf.is_done());
        cancel.cancel_with("stop");
        assert!(leaf.is_done());
        let error = leaf.err().expect("done");
        assert_eq!(error.kind(), ErrorKind::Canceled);
        assert_eq!(error.cause().expect("given").to_string(), "stop");
        assert!(leaf.with_name("late").is_done());
        drop(top);
        drop(leaf);
    });
}

#[test]
fn deep_chain_waited_on_canceled_and_dropped() {
    on_two_mebibytes(|| {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let leaf = chain(&top, LEVELS, |ctx, _| cancelable(ctx));
        let wakes = Wakes::new();
        let mut wait = leaf.done_owned();
        assert!(poll(&mut wait, &wakes).is_pending());
        cancel.cancel_with("stop");
        assert_eq!(wakes.count(), 1);
        assert!(poll(&mut wait, &wakes).is_ready());
        drop(leaf);
        drop(wait);
    });
}

#[test]
fn deep_chain_waited_on_and_dropped_while_the_root_lives() {
    on_two_mebibytes(|| {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let leaf = chain(&top, LEVELS, |ctx, _| cancelable(ctx));
        let wakes = Wakes::new();
        let mut wait = leaf.done_owned();
        assert!(poll(&mut wait, &wakes).is_pending());
        // The future holds the last reference to all levels. Each level is linked to the level above.
        drop(leaf);
        drop(wait);
        assert_eq!(wakes.held(), 0);
        assert!(!top.is_done());
        cancel.cancel();
        assert!(top.is_done());
    });
}

#[test]
fn deep_chain_of_every_kind_ends() {
    on_two_mebibytes(|| {
        // On the system's clock, because with any other clock every deadline walks up to the root to find it.
        let root = Context::background().with_name("root");
        let (top, cancel) = root.with_value(User(1)).with_cancel();
        let last = Instant::now() + HOUR;
        let other = Context::background().with_name("n");
        let leaf = chain(&top, LEVELS / 4, |ctx, i| match i % 5 {
            // Each deadline is slightly earlier than the deadline above, because a later deadline creates no node.
            0 => ctx.with_deadline(last - NS * u32::try_from(i).expect("small")),
            1 => ctx.with_name("n"),
            2 => ctx.with_value(common::Trace(String::new())),
            3 => ctx.merge(&other),
            _ => cancelable(ctx),
        });
        assert!(leaf.deadline().is_some_and(|at| at < last && at > last - SEC));
        assert_eq!(leaf.value::<User>(), Some(&User(1)));
        assert!(leaf.value::<Absent>().is_none());
        assert_eq!(leaf.name(), Some("n"));
        let wakes = Wakes::new();
        let mut wait = leaf.done_owned();
        assert!(poll(&mut wait, &wakes).is_pending());
        let unwatched = leaf.with_name("unwatched");
        cancel.cancel_with("stop");
        assert_eq!(wakes.count(), 1);
        assert_eq!(unwatched.cause().expect("done").to_string(), "stop");
        drop(wait);
        drop(leaf);
        drop(unwatched);
        // The same on the side of a merge where a recursion would not be noticed otherwise.
        let right = chain(&root, LEVELS / 4, |ctx, _| other.merge(ctx));
        assert!(!right.is_done());
        drop(right);
    });
}

#[test]
fn deadline_ends_a_deep_chain() {
    on_two_mebibytes(|| {
        let (root, time) = manual();
        let top = root.with_timeout_cause(HOUR, "slow");
        let leaf =
            // Every 1000th level has a later timeout, which creates no node.
            chain(&top, LEVELS / 4, |ctx, i| if i % 1000 == 0 { ctx.with_timeout(2 * HOUR) } else { cancelable(ctx) });
        let wakes = Wakes::new();
        let mut wait = leaf.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        time.advance(HOUR);
        assert_eq!(wakes.count(), 1);
        assert_eq!(leaf.cause().expect("done").to_string(), "slow");
    });
}

#[test]
fn each_level_has_a_deadline_on_a_clock_of_its_own() {
    on_two_mebibytes(|| {
        let (root, time) = manual();
        // Each deadline is earlier than the deadline above, so each is armed and fires on its own, from the bottom up.
        let nanoseconds = |i: usize| NS * u32::try_from(i).expect("they are few");
        let leaf = chain(&root, LEVELS / 16, |ctx, i| ctx.with_timeout(HOUR - nanoseconds(i)));
        let mut wait = leaf.done();
        let wakes = Wakes::new();
        assert!(!leaf.is_done() && poll(&mut wait, &wakes).is_pending());
        time.advance(HOUR - nanoseconds(LEVELS / 16));
        assert!(!leaf.is_done());
        time.advance(nanoseconds(LEVELS / 16));
        assert!(leaf.is_done() && wakes.count() == 1);
    });
}

#[test]
fn deadline_above_a_deep_unwatched_chain_is_found() {
    on_two_mebibytes(|| {
        let (root, time) = manual();
        let top = root.with_timeout_cause(HOUR, "slow");
        let leaf = chain(&top, LEVELS / 4, |ctx, _| cancelable(ctx));
        time.advance(HOUR);
        assert!(leaf.is_done());
        assert_eq!(leaf.cause().expect("done").to_string(), "slow");
        assert_eq!(leaf.with_name("late").cause().expect("done").to_string(), "slow");
    });
}

#[test]
fn many_children_with_waiters_are_canceled() {
    on_two_mebibytes(|| {
        let (root, _time) = manual();
        let (top, cancel) = root.with_cancel();
        let wakes = Wakes::new();
        let waker = wakes.waker();
        let mut waits: Vec<_> = (0..CHILDREN)
            .map(|_| {
                let mut wait = cancelable(&top).done_owned();
                assert!(common::poll_with(&mut wait, &waker).is_pending());
                wait
            })
            .collect();
        cancel.cancel_with("stop");
        assert_eq!(wakes.count(), waits.len());
        for wait in waits.iter_mut().step_by(10_007) {
            assert!(common::poll_with(wait, &waker).is_ready());
        }
        drop(waits);
        drop(waker);
        assert_eq!(wakes.held(), 0);
    });
}

#[test]
fn many_deadlines_fire() {
    on_two_mebibytes(|| {
        let (root, time) = manual();
        let wakes = Wakes::new();
        let waker = wakes.waker();
        // Half of the deadlines are at one instant. The others are spread over an hour, and are created in no particular order.
        let waits: Vec<_> = (0..CHILDREN)
            .map(|i| {
                let i = u32::try_from(i).expect("small");
                let d = if i % 2 == 0 { HOUR } else { common::MS * (i.wrapping_mul(2_654_435_761) % 3_600_000) };
                let mut wait = root.with_timeout(d).done_owned();
                let pending = common::poll_with(&mut wait, &waker).is_pending();
                (wait, pending)
            })
            .collect();
        let pending = waits.iter().filter(|(_, pending)| *pending).count();
        time.advance(HOUR - common::MS);
        let before = wakes.count();
        assert!(before >= CHILDREN * 2 / 5 && before <= pending - CHILDREN / 2, "{before} fired before the hour");
        time.advance(common::MS);
        assert_eq!(wakes.count(), pending);
    });
}
