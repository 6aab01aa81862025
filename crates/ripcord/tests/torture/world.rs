//! The contexts that the threads share, and the operations of a thread on them.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context as Task, Poll, Waker};
use std::time::{Duration, Instant};

use ripcord::{AfterFunc, CancelHandle, Canceler, Clock, Context, DoneOwned, Group, ManualTime, MovableDeadline};

use super::hostile::{Busy, Counted, Habit, Wakes, use_in_an_ending_thread};
use super::{HANG, Random, wait_for};

const SLOTS: usize = 12;
/// The number of the root. The numbers of later cancelers follow.
const ROOT: usize = 0;

/// A context, and the test's knowledge of the context.
#[derive(Clone)]
struct Entry {
    ctx: Context,
    /// The numbers of the cancelers that end it.
    ended_by: Arc<BTreeSet<usize>>,
    /// The context's own canceler, if it has one.
    canceler: Option<(usize, Arc<Canceler>)>,
    /// The cause that an observer saw first.
    cause: Arc<OnceLock<String>>,
}

struct Waiter {
    done: DoneOwned,
    wakes: Arc<Wakes>,
    waits: bool,
    entry: Entry,
}

pub(crate) struct World {
    slots: Vec<Mutex<Option<Entry>>>,
    waiters: Mutex<Vec<Waiter>>,
    functions: Mutex<Vec<AfterFunc>>,
    deadlines: Mutex<Vec<MovableDeadline>>,
    cancelers: AtomicUsize,
    root: Entry,
    clocks: Vec<Clock>,
    /// The times of the manual clocks in `clocks`.
    times: Vec<ManualTime>,
    /// Runs the timers of tokio's clock.
    #[cfg(all(feature = "tokio", not(miri)))]
    _runtime: tokio::runtime::Runtime,
    /// The number of values and functions that have not been dropped.
    living: Arc<AtomicUsize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No user code runs under the lock, so a panic leaves no invariant broken.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(crate) fn new() -> World {
        let (ctx, canceler) = Context::background().with_cancel();
        let root = Entry {
            ctx,
            ended_by: Arc::new(BTreeSet::from([ROOT])),
            canceler: Some((ROOT, Arc::new(canceler))),
            cause: Arc::default(),
        };
        let (manual, times): (Vec<_>, Vec<_>) = [Clock::manual(), Clock::manual()].into_iter().unzip();
        let mut clocks = manual;
        clocks.push(Clock::system());
        #[cfg(all(feature = "tokio", not(miri)))]
        let runtime = {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(1).enable_time().build().expect("a runtime");
            let inside = runtime.enter();
            clocks.push(Clock::tokio());
            drop(inside);
            runtime
        };
        World {
            clocks,
            times,
            #[cfg(all(feature = "tokio", not(miri)))]
            _runtime: runtime,
            slots: (0..SLOTS).map(|_| Mutex::new(None)).collect(),
            waiters: Mutex::default(),
            functions: Mutex::default(),
            deadlines: Mutex::default(),
            cancelers: AtomicUsize::new(ROOT + 1),
            root,
            living: Arc::default(),
        }
    }

    /// Returns a random context of the world. Returns the root if the slot is empty.
    fn any(&self, random: &mut Random) -> Entry {
        let found = lock(&self.slots[random.below(SLOTS)]).clone();
        found.unwrap_or_else(|| self.root.clone())
    }

    fn put(&self, random: &mut Random, entry: Entry) {
        // Dropped without the lock, because the drop may run user code.
        let replaced = lock(&self.slots[random.below(SLOTS)]).replace(entry);
        drop(replaced);
    }

    /// Runs one random operation.
    pub(crate) fn step(&self, random: &mut Random) {
        let entry = self.any(random);
        match random.below(23) {
            0..=7 => {
                let derived = self.derive(random, &entry);
                self.put(random, derived);
            }
            8..=10 => self.wait(random, entry),
            11..=12 => self.cancel(random, &entry),
            13 => self.register(random, &entry),
            14 => self.poll_again(random),
            15 => use_in_an_ending_thread(entry.ctx),
            16 => run_a_group(random, &entry.ctx),
            17 => self.times[random.below(self.times.len())].advance(Duration::from_micros(random.below(2000) as u64)),
            18 => self.move_a_deadline(random),
            19 => {
                let _in_time = entry.ctx.progress();
            }
            _ => observe(&entry),
        }
    }

    fn move_a_deadline(&self, random: &mut Random) {
        let deadlines = lock(&self.deadlines);
        let Some(deadline) = deadlines.get(random.below(deadlines.len().max(1))).cloned() else { return };
        drop(deadlines);
        let length =
            if random.one_in(2) { Duration::from_secs(3600) } else { Duration::from_micros(random.below(3000) as u64) };
        let _in_time = deadline.reset_after(length);
    }

    fn derive(&self, random: &mut Random, parent: &Entry) -> Entry {
        let ctx = &parent.ctx;
        let was_done = ctx.is_done();
        let mut entry = Entry { canceler: None, cause: Arc::default(), ..parent.clone() };
        match random.below(15) {
            0..=2 => {
                let (child, canceler) = ctx.with_cancel();
                let number = self.cancelers.fetch_add(1, Ordering::Relaxed);
                let mut ended_by = BTreeSet::clone(&parent.ended_by);
                ended_by.insert(number);
                entry.ctx = child;
                entry.ended_by = Arc::new(ended_by);
                entry.canceler = Some((number, Arc::new(canceler)));
            }
            3 => entry.ctx = ctx.with_timeout(Duration::from_micros(random.below(3000) as u64)),
            4 => entry.ctx = ctx.with_timeout(Duration::from_secs(3600 + random.below(100) as u64)),
            5 => {
                let cancels = if random.one_in(8) { self.handle(random) } else { None };
                let panics = random.one_in(4);
                let value = Busy { below: ctx.clone(), cancels, panics, _counted: Counted::new(&self.living) };
                entry.ctx = ctx.with_value(value);
            }
            6 => entry.ctx = ctx.with_name("tortured"),
            7 => entry.ctx = ctx.with_clock(self.clocks[random.below(self.clocks.len())].clone()),
            #[cfg(feature = "tokio-util")]
            8 => {
                // The token also ends the child, but the threads that cancel the token's context do not wait for that.
                let other = self.any(random);
                entry.ctx = ctx.with_cancellation_token(&other.ctx.cancellation_token());
            }
            10 => {
                let (child, deadline) =
                    ctx.with_movable_deadline(Instant::now() + Duration::from_micros(random.below(3000) as u64));
                entry.ctx = child;
                lock(&self.deadlines).push(deadline);
            }
            11 => entry.ctx = ctx.with_idle_timeout(Duration::from_micros(random.below(3000) as u64)).0,
            12 => {
                // The context may end later than its parent.
                entry.ctx = ctx.shielded(Duration::from_micros(random.below(2000) as u64));
                entry.ended_by = Arc::default();
                return entry;
            }
            9 if random.one_in(4) => {
                entry.ctx = ctx.without_cancel();
                entry.ended_by = Arc::default();
                return entry;
            }
            _ => {
                let other = self.any(random);
                entry.ctx = ctx.merge(&other.ctx);
                entry.ended_by = Arc::new(parent.ended_by.union(&other.ended_by).copied().collect());
            }
        }
        assert!(!was_done || entry.ctx.is_done(), "a child of a done context is not done");
        entry
    }

    fn handle(&self, random: &mut Random) -> Option<CancelHandle> {
        self.any(random).canceler.filter(|(number, _)| *number != ROOT).map(|(_, canceler)| canceler.handle())
    }

    fn cancel(&self, random: &mut Random, entry: &Entry) {
        let Some((number, canceler)) = &entry.canceler else { return };
        // The root ends at the end of the round. It rarely ends earlier.
        if *number == ROOT && !random.one_in(200) {
            return;
        }
        canceler.cancel_with(format!("canceler {number}"));
        assert!(entry.ctx.is_done());
        for slot in &self.slots {
            let other = lock(slot).clone();
            if let Some(other) = other
                && other.ended_by.contains(number)
            {
                assert!(other.ctx.is_done(), "cancel returned before all below were done");
                observe(&other);
            }
        }
    }

    fn wait(&self, random: &mut Random, entry: Entry) {
        let habit = match random.below(8) {
            0 => Habit::Panics,
            1 => Habit::CallsBack,
            _ => Habit::Quiet,
        };
        let wakes = Arc::new(Wakes {
            count: AtomicUsize::new(0),
            habit,
            ctx: entry.ctx.clone(),
            other: if random.one_in(8) { self.handle(random) } else { None },
        });
        let mut waiter = Waiter { done: entry.ctx.done_owned(), wakes, waits: false, entry };
        let _state = waiter.poll();
        let mut waiters = lock(&self.waiters);
        waiters.push(waiter);
        // Half of the waiters are dropped while they wait.
        let dropped = if waiters.len() > SLOTS { Some(waiters.swap_remove(random.below(SLOTS))) } else { None };
        drop(waiters);
        drop(dropped);
    }

    fn poll_again(&self, random: &mut Random) {
        let taken = {
            let mut waiters = lock(&self.waiters);
            let count = waiters.len();
            (count > 0).then(|| waiters.swap_remove(random.below(count)))
        };
        if let Some(mut waiter) = taken {
            if waiter.waits {
                let _state = waiter.poll();
            }
            lock(&self.waiters).push(waiter);
        }
    }

    fn register(&self, random: &mut Random, entry: &Entry) {
        if entry.ended_by.is_empty() {
            // Nothing ends the context before the end of the round, so the function would be kept until then.
            return;
        }
        let counted = Counted::new(&self.living);
        let ctx = entry.ctx.without_cancel();
        let registered = entry.ctx.after_func(move || {
            assert!(!ctx.is_done());
            drop(counted);
        });
        let mut functions = lock(&self.functions);
        functions.push(registered);
        let one = random.below(functions.len());
        let taken = random.one_in(2).then(|| functions.swap_remove(one));
        drop(functions);
        if let Some(taken) = taken {
            taken.stop();
            assert!(!taken.stop(), "a function was stopped twice");
        }
    }

    /// Cancels and drops everything, and checks the conditions at the end.
    pub(crate) fn end(self) {
        let World { slots, waiters, functions, root, living, deadlines, .. } = self;
        let entries: Vec<Entry> = slots.into_iter().filter_map(|slot| lock(&slot).take()).collect();
        if let Some((_, canceler)) = &root.canceler {
            canceler.cancel_with("the round is over");
        }
        for entry in entries.iter().chain([&root]) {
            if let Some((_, canceler)) = &entry.canceler {
                canceler.cancel();
            }
            if entry.ended_by.contains(&ROOT) {
                assert!(entry.ctx.is_done(), "not done although the root is");
            }
            observe(entry);
        }
        // The last drops of cancelers end their contexts.
        drop(entries);
        let mut waiters = std::mem::take(&mut *lock(&waiters));
        for waiter in &mut waiters {
            if let Some((_, canceler)) = waiter.entry.canceler.take() {
                canceler.cancel();
            }
        }
        for mut waiter in waiters {
            if waiter.entry.ended_by.is_empty() {
                continue;
            }
            let what = "a waiter was not woken";
            wait_for(what, HANG, || !waiter.waits || waiter.wakes.count.load(Ordering::SeqCst) > 0);
            assert!(waiter.entry.ctx.is_done(), "what ends it has ended or was dropped");
            observe(&waiter.entry);
            if waiter.waits {
                assert!(waiter.poll().is_ready());
            }
        }
        drop((root, functions, deadlines));
        wait_for("values or functions were not dropped", HANG, || living.load(Ordering::SeqCst) == 0);
    }
}

impl Waiter {
    fn poll(&mut self) -> Poll<()> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        let was_done = self.entry.ctx.is_done();
        let poll = Pin::new(&mut self.done).poll(&mut Task::from_waker(&waker));
        self.waits = poll.is_pending();
        assert!(!(was_done && self.waits), "a waiter takes an end back");
        poll.map(|_| ())
    }
}

/// Queries a context in every way. No answer may contradict an earlier answer.
fn observe(entry: &Entry) {
    let ctx = &entry.ctx;
    if !ctx.is_done() {
        return;
    }
    assert!(ctx.is_done(), "is_done takes an end back");
    assert!(ctx.clone().check().is_err(), "check takes an end back");
    assert!(ctx.err().is_some(), "err takes an end back");
    assert!(ctx.with_cancel().0.is_done(), "a child takes an end back");
    assert!(ctx.wait_timeout(Duration::ZERO).is_some(), "wait takes an end back");
    let task = &mut Task::from_waker(Waker::noop());
    assert!(Pin::new(&mut ctx.done()).poll(task).is_ready(), "done takes an end back");
    let run = Pin::new(&mut ctx.run(std::future::ready(()))).poll(task);
    assert!(matches!(run, Poll::Ready(Err(_))), "run takes an end back");
    assert!(!ctx.after_func(|| {}).stop(), "after_func takes an end back");
    let (other, _canceler) = Context::background().with_cancel();
    assert!(ctx.merge(&other).is_done() && other.merge(ctx).is_done(), "a merge takes an end back");
    assert!(ctx.ended_at().is_some(), "ended_at takes an end back");
    let cause = ctx.cause().expect("a done context has a cause").to_string();
    assert_eq!(entry.cause.get_or_init(|| cause.clone()), &cause, "a cause changed");
}

/// Runs some tasks under a context, each on its own thread. One task may fail.
fn run_a_group(random: &mut Random, ctx: &Context) {
    let (group, ctx) = Group::with_executor(ctx, |task| {
        std::thread::spawn(move || futures::executor::block_on(task));
    });
    for n in 0..random.below(3) {
        let (ctx, fails) = (ctx.clone(), n == 1);
        group.go(async move {
            if fails {
                return Err(ripcord::Cause::from("a task failed"));
            }
            let (_child, cancel) = ctx.with_cancel();
            cancel.cancel();
            Ok(())
        });
    }
    if random.one_in(3) {
        drop(group);
    } else {
        let result = futures::executor::block_on(group.wait());
        assert!(result.is_ok() || ctx.is_done(), "a group failed, and its context goes on");
    }
}
