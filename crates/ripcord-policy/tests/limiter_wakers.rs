//! Wakers of the limiter's waiters. A waker runs foreign code. It may panic or use the limiter, also in its `Drop`, and must not
//! harm other waiters. No wakeup may be lost.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Wake, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use proptest::collection::vec;
use proptest::prelude::*;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::{Bulkhead, KeyedLimiter, Rate, RateLimiter, Refused, Reservation, Stack};

const MS: Duration = Duration::from_millis(1);

type Waiting<'a> = BoxFuture<'a, Result<Duration, Refused>>;

/// Returns a limiter with an empty bucket that earns ten tokens per second.
fn empty() -> (RateLimiter, Context, ManualTime) {
    let (clock, time) = Clock::manual();
    let limiter = RateLimiter::builder().rate(Rate::per_second(10.0)).burst(1).clock(clock.clone()).build().unwrap();
    assert!(limiter.allow());
    (limiter, Context::background().with_clock(clock), time)
}

fn poll(wait: &mut Waiting<'_>, waker: &Waker) -> Poll<Result<Duration, Refused>> {
    wait.as_mut().poll(&mut Task::from_waker(waker))
}

#[derive(Default)]
struct Counts(AtomicUsize);

impl Wake for Counts {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a fault of the waker");
    }
}

/// A waker that uses the limiter when it is woken and when it is dropped.
struct Uses(RateLimiter, Mutex<Vec<f64>>, Arc<AtomicUsize>);

impl Wake for Uses {
    fn wake(self: Arc<Self>) {
        self.1.lock().unwrap().push(self.0.tokens());
    }
}

impl Drop for Uses {
    fn drop(&mut self) {
        self.0.tokens();
        self.2.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn waker_that_panics_at_a_new_rate_keeps_no_other_waiter_asleep() {
    let (limiter, ctx, _time) = empty();
    let counts = Arc::new(Counts::default());
    let wakers = [Waker::from(Arc::new(Panics)), Waker::from(Arc::clone(&counts))];
    let mut waits: Vec<Waiting<'_>> = wakers.iter().map(|_| Box::pin(limiter.wait(&ctx)) as _).collect();
    assert!(waits.iter_mut().zip(&wakers).all(|(wait, waker)| poll(wait, waker).is_pending()));
    limiter.set_rate(Rate::per_second(1000.0)).unwrap();
    assert_eq!(counts.0.load(Ordering::Relaxed), 1);
}

#[test]
fn waker_that_panics_at_a_new_rate_keeps_no_waiter_of_another_key_asleep() {
    let (clock, _time) = Clock::manual();
    let limiter = KeyedLimiter::builder().rate(Rate::per_second(10.0)).burst(1).clock(clock.clone()).build().unwrap();
    let ctx = Context::background().with_clock(clock);
    let counts = Arc::new(Counts::default());
    let wakers: Vec<_> = (0..20)
        .map(|key| if key % 2 == 0 { Waker::from(Arc::new(Panics)) } else { Waker::from(Arc::clone(&counts)) })
        .collect();
    let keys: Vec<usize> = (0..20).collect();
    let mut waits: Vec<Waiting<'_>> = Vec::new();
    for (key, waker) in keys.iter().zip(&wakers) {
        assert!(limiter.allow(key));
        let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx, key));
        assert!(poll(&mut wait, waker).is_pending());
        waits.push(wait);
    }
    limiter.set_rate(Rate::per_second(1000.0)).unwrap();
    assert_eq!(counts.0.load(Ordering::Relaxed), 10);
}

/// A waker may own a task, and a task may own any value. Here the waker uses the limiter when it is dropped. Under the limiter's
/// lock, this would deadlock.
#[test]
fn waker_that_uses_the_limiter_does_not_deadlock() {
    enum End {
        Served,
        Dropped,
        Retimed,
        ServedByInfiniteRate,
        PolledByAnother,
    }
    for end in [End::Served, End::Dropped, End::Retimed, End::ServedByInfiniteRate, End::PolledByAnother] {
        let (limiter, ctx, time) = empty();
        let dropped = Arc::new(AtomicUsize::new(0));
        let waker = || Waker::from(Arc::new(Uses(limiter.clone(), Mutex::default(), Arc::clone(&dropped))));
        let mut before: Waiting<'_> = Box::pin(limiter.wait(&ctx));
        assert!(poll(&mut before, Waker::noop()).is_pending());
        let mut wait: Waiting<'_> = Box::pin(limiter.wait(&ctx));
        assert!(poll(&mut wait, &waker()).is_pending());
        match end {
            End::Served => {
                time.advance(200 * MS);
                assert!(poll(&mut wait, Waker::noop()).is_ready());
            }
            End::Dropped => {}
            End::Retimed => limiter.set_rate(Rate::per_second(1.0)).unwrap(),
            End::ServedByInfiniteRate => {
                limiter.set_rate(Rate::INFINITE).unwrap();
                limiter.set_rate(Rate::ZERO).unwrap();
            }
            End::PolledByAnother => assert!(poll(&mut wait, Waker::noop()).is_pending()),
        }
        drop(wait);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An executor that polls only the tasks that have been woken.
#[derive(Default)]
struct Tasks<'a>(Vec<(Arc<Woken>, Waiting<'a>)>);

impl<'a> Tasks<'a> {
    fn spawn(&mut self, wait: Waiting<'a>) {
        self.0.push((Arc::new(Woken(true.into())), wait));
    }

    fn run(&mut self) {
        while self.0.iter().any(|(woken, _)| woken.0.load(Ordering::Relaxed)) {
            self.0.retain_mut(|(woken, wait)| {
                let was_woken = woken.0.swap(false, Ordering::Relaxed);
                !was_woken || poll(wait, &Waker::from(Arc::clone(woken))).is_pending()
            });
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u32),
    Wait(u32),
    /// Waits for a token of a call that is then not sent, so the token is given back.
    WaitUnused,
    /// Drops the waiter with this number modulo their count.
    Leave(usize),
    Reserve(u32),
    Cancel(usize),
    Allow(u32),
    /// Sets the rate, in tokens per second.
    Rate(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u32..300).prop_map(Step::Advance),
        6 => (1u32..4).prop_map(Step::Wait),
        2 => Just(Step::WaitUnused),
        3 => any::<usize>().prop_map(Step::Leave),
        2 => (1u32..4).prop_map(Step::Reserve),
        2 => any::<usize>().prop_map(Step::Cancel),
        1 => (1u32..4).prop_map(Step::Allow),
        1 => (0u32..50).prop_map(Step::Rate),
    ]
}

proptest! {
    #[test]
    fn waiter_that_is_due_has_been_woken(steps in vec(step(), 1..80)) {
        let (clock, time) = Clock::manual();
        let limiter = RateLimiter::builder().rate(Rate::per_second(10.0)).burst(3).clock(clock.clone()).build().unwrap();
        let ctx = Context::background().with_clock(clock);
        let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
        let _held = bulkhead.try_acquire().unwrap();
        let stack: Stack<(), Refused> =
            Stack::builder().limiter(limiter.clone()).bulkhead(bulkhead.clone()).build().unwrap();
        let mut tasks = Tasks::default();
        let mut reserved: Vec<Reservation> = Vec::new();
        for step in steps {
            match step {
                Step::Advance(ms) => time.advance(ms * MS),
                Step::Wait(n) => tasks.spawn(Box::pin(limiter.wait_n(&ctx, n))),
                Step::WaitUnused => tasks.spawn(Box::pin(async {
                    stack.run(&ctx, |_| async { Ok(()) }).await.unwrap_err();
                    Ok(Duration::ZERO)
                })),
                Step::Leave(which) if !tasks.0.is_empty() => {
                    let which = which % tasks.0.len();
                    drop(tasks.0.remove(which));
                }
                Step::Reserve(n) => reserved.push(limiter.reserve_n(n).unwrap()),
                Step::Cancel(which) if !reserved.is_empty() => {
                    let which = which % reserved.len();
                    reserved.remove(which).cancel();
                }
                Step::Leave(_) | Step::Cancel(_) => {}
                Step::Allow(n) => _ = limiter.allow_n(n),
                Step::Rate(rate) => limiter.set_rate(Rate::per_second(rate.into())).unwrap(),
            }
            tasks.run();
        }
        // A waiter that missed its time would be ready now.
        for (_, wait) in &mut tasks.0 {
            prop_assert!(poll(wait, Waker::noop()).is_pending());
        }
    }
}

#[test]
fn new_rate_retimes_thirty_thousand_waiters_quickly() {
    // Each waiter looks up only its own promise. If each waiter searched the queue, this test would take minutes.
    let (limiter, ctx, time) = empty();
    let mut waits: Vec<Waiting<'_>> = (0..30_000).map(|_| Box::pin(limiter.wait(&ctx)) as _).collect();
    assert!(waits.iter_mut().all(|wait| poll(wait, Waker::noop()).is_pending()));
    limiter.set_rate(Rate::per_second(1000.0)).unwrap();
    assert!(waits.iter_mut().all(|wait| poll(wait, Waker::noop()).is_pending()));
    time.advance(15_000 * MS);
    let served = waits.iter_mut().filter_map(|wait| poll(wait, Waker::noop()).is_ready().then_some(())).count();
    assert_eq!(served, 15_000);
    drop(waits);
    assert_eq!((limiter.stats().waiters, limiter.tokens()), (0, 0.0));
}
