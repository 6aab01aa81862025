//! Once any observer has reported the end of a context, no later observer reports otherwise. This holds for the context, its
//! clones, its descendants, children created later, and merged contexts.
//!
//! The model is simple. It stores, for each context, its parents, the possible reasons for its end, and the end that an
//! observer has reported. An observer that reports a live context is wrong if the model contains an end at or above the
//! context. An observer that reports an end is wrong if nothing can have ended the context yet, or if the end differs from the
//! end reported before.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::observers::{OBSERVERS, Observer, Report, assert_all_report_an_end, observe_until_ended};
use common::time::Time;
use common::{HANG, MS, Wakes, poll};
use proptest::prelude::*;
use ripcord::{Canceler, Clock, Context, ErrorKind, IdleTimeout, MovableDeadline};

const US: Duration = Duration::from_micros(1);

// ===== the model =====

#[derive(Debug, Clone)]
enum Op {
    Cancel(usize),
    Timeout(usize, u64),
    Movable(usize, u64),
    Idle(usize, u64),
    Reset(usize, u64),
    Name(usize),
    Shield(usize, u64),
    Clock(usize, usize),
    Merge(usize, usize),
    End(usize),
    Wait(usize),
    Advance(usize, u64),
    Observe(usize, usize),
    ObserveAll(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0..1_000_usize;
    prop_oneof![
        3 => which.clone().prop_map(Op::Cancel),
        4 => (which.clone(), 0..1_500_u64).prop_map(|(p, us)| Op::Timeout(p, us)),
        2 => (which.clone(), 0..1_500_u64).prop_map(|(p, us)| Op::Movable(p, us)),
        2 => (which.clone(), 0..1_500_u64).prop_map(|(p, us)| Op::Idle(p, us)),
        5 => (which.clone(), 0..1_500_u64).prop_map(|(c, us)| Op::Reset(c, us)),
        1 => which.clone().prop_map(Op::Name),
        2 => (which.clone(), 0..800_u64).prop_map(|(p, us)| Op::Shield(p, us)),
        2 => (which.clone(), which.clone()).prop_map(|(p, clock)| Op::Clock(p, clock)),
        3 => (which.clone(), which.clone()).prop_map(|(a, b)| Op::Merge(a, b)),
        1 => which.clone().prop_map(Op::End),
        3 => which.clone().prop_map(Op::Wait),
        3 => (which.clone(), 0..400_u64).prop_map(|(clock, us)| Op::Advance(clock, us)),
        8 => (which.clone(), which.clone()).prop_map(|(c, o)| Op::Observe(c, o)),
        2 => which.prop_map(Op::ObserveAll),
    ]
}

struct Node {
    ctx: Context,
    parents: Vec<usize>,
    /// Whether the node may be live after its parents have ended.
    is_shielded: bool,
    /// The index of the clock of its deadline.
    clock: usize,
    canceler: Option<Canceler>,
    is_canceled: bool,
    deadline: Option<Instant>,
    mover: Option<Mover>,
    /// Whether an observer has reported an end.
    is_reported: bool,
    /// How the node ended, once an observer has reported that.
    end: Option<(ErrorKind, String)>,
}

/// The handle that moves the deadline of a node.
enum Mover {
    Deadline(MovableDeadline),
    Idle(IdleTimeout),
}

impl Mover {
    fn reset(&self, after: Duration) -> bool {
        match self {
            Mover::Deadline(deadline) => deadline.reset_after(after),
            Mover::Idle(idle) => idle.reset(),
        }
    }

    fn get(&self) -> Option<Instant> {
        match self {
            Mover::Deadline(deadline) => deadline.get(),
            Mover::Idle(idle) => idle.get(),
        }
    }
}

struct Tree {
    nodes: Vec<Node>,
    clocks: Arc<Vec<(Clock, Time)>>,
    waiting: Vec<ripcord::DoneOwned>,
}

impl Tree {
    fn new(clocks: Arc<Vec<(Clock, Time)>>) -> Self {
        let root = Context::background().with_clock(clocks[0].0.clone());
        let mut tree = Tree { nodes: Vec::new(), clocks, waiting: Vec::new() };
        tree.add(root, Vec::new());
        tree
    }

    fn add(&mut self, ctx: Context, parents: Vec<usize>) -> &mut Node {
        // A merged context has the clock of its first parent.
        let clock = parents.first().map_or(0, |parent| self.nodes[*parent].clock);
        self.nodes.push(Node {
            ctx,
            parents,
            is_shielded: false,
            clock,
            canceler: None,
            is_canceled: false,
            deadline: None,
            mover: None,
            is_reported: false,
            end: None,
        });
        self.nodes.last_mut().expect("it was just put in")
    }

    /// Returns the time of a node's clock.
    fn now(&self, at: usize) -> Instant {
        self.clocks[self.nodes[at].clock].1.now()
    }

    /// Returns whether an event that ends the node at once is known to have happened.
    fn must_be_ended(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let above = !node.is_shielded && node.parents.iter().any(|parent| self.must_be_ended(*parent));
        above || node.is_reported || node.is_canceled
    }

    /// Returns whether a deadline that ends the node at once has passed.
    fn must_have_expired(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let above = !node.is_shielded && node.parents.iter().any(|parent| self.must_have_expired(*parent));
        above || node.deadline.is_some_and(|deadline| deadline <= self.now(at))
    }

    /// Returns whether any event has happened that can have ended the node, at once or later.
    fn may_be_ended(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let itself = node.is_reported || node.is_canceled || node.deadline.is_some_and(|d| d <= self.now(at));
        itself || node.parents.iter().any(|parent| self.may_be_ended(*parent))
    }

    fn observe(&mut self, at: usize, observer: Observer) {
        let must_be_ended = self.must_be_ended(at);
        let must_have_expired = self.clocks[0].1.stands_still() && self.must_have_expired(at);
        let report = match observer.observe(&self.nodes[at].ctx) {
            // The remaining time is measured on the context's clock. The clock of a deadline above may be behind.
            Report::Ended(None) if observer == Observer::Remaining && self.clocks.len() > 1 => Report::Nothing,
            report => report,
        };
        match report {
            Report::Nothing => {}
            Report::Lives => {
                assert!(!must_be_ended, "{observer:?} takes back that {} has ended", self.nodes[at].ctx);
                assert!(!must_have_expired, "{observer:?} misses a deadline of {}", self.nodes[at].ctx);
            }
            Report::Ended(end) => {
                assert!(self.may_be_ended(at), "{observer:?} reports the end of {} early", self.nodes[at].ctx);
                let node = &mut self.nodes[at];
                node.is_reported = true;
                if end.is_some() {
                    assert!(node.end.is_none() || node.end == end, "{observer:?}: {end:?}, but before {:?}", node.end);
                    node.end = end;
                }
            }
        }
    }

    /// Resets a deadline. The reset takes effect if and only if the context has not ended, and a refused reset reports the end.
    fn reset(&mut self, at: usize, after: Duration) {
        let Some(mover) = &self.nodes[at].mover else { return };
        let must_be_ended = self.must_be_ended(at) || self.must_have_expired(at);
        let was = self.nodes[at].deadline;
        let (took_effect, set) = (mover.reset(after), mover.get());
        if took_effect {
            assert!(!must_be_ended, "a reset took effect after the end of {}", self.nodes[at].ctx);
            self.nodes[at].deadline = set;
        } else {
            assert!(self.may_be_ended(at), "a reset was refused before the end of {}", self.nodes[at].ctx);
            assert_eq!(set, was, "a refused reset changed the deadline of {}", self.nodes[at].ctx);
            self.nodes[at].is_reported = true;
        }
    }

    fn apply_all(&mut self, ops: Vec<Op>) {
        ops.into_iter().enumerate().for_each(|(ordinal, op)| self.apply(op, ordinal));
    }

    fn check(clocks: Vec<(Clock, Time)>, ops: Vec<Op>) {
        let clocks = Arc::new(clocks);
        let mut tree = Tree::new(Arc::clone(&clocks));
        Time::enter_all(clocks.iter().map(|(_, time)| time), || tree.apply_all(ops));
    }

    fn apply(&mut self, op: Op, ordinal: usize) {
        let len = self.nodes.len();
        match op {
            Op::Cancel(parent) => {
                let (ctx, canceler) = self.nodes[parent % len].ctx.with_cancel();
                self.add(ctx, vec![parent % len]).canceler = Some(canceler);
            }
            Op::Timeout(parent, us) => {
                let parent = parent % len;
                let deadline = self.now(parent) + u32::try_from(us).expect("small") * US;
                let ctx = self.nodes[parent].ctx.with_deadline_cause(deadline, format!("deadline {ordinal}"));
                self.add(ctx, vec![parent]).deadline = Some(deadline);
            }
            Op::Movable(parent, us) => {
                let parent = parent % len;
                let deadline = self.now(parent) + u32::try_from(us).expect("small") * US;
                let cause = format!("deadline {ordinal}");
                let (ctx, mover) = self.nodes[parent].ctx.with_movable_deadline_cause(deadline, cause);
                let node = self.add(ctx, vec![parent]);
                (node.deadline, node.mover) = (Some(deadline), Some(Mover::Deadline(mover)));
            }
            Op::Idle(parent, us) => {
                let parent = parent % len;
                let timeout = u32::try_from(us).expect("small") * US;
                let cause = format!("idle {ordinal}");
                let (ctx, idle) = self.nodes[parent].ctx.with_idle_timeout_cause(timeout, cause);
                let node = self.add(ctx, vec![parent]);
                (node.deadline, node.mover) = (idle.get(), Some(Mover::Idle(idle)));
            }
            Op::Reset(which, us) => self.reset(which % len, u32::try_from(us).expect("small") * US),
            Op::Name(parent) => {
                let ctx = self.nodes[parent % len].ctx.with_name("name");
                self.add(ctx, vec![parent % len]);
            }
            Op::Shield(parent, us) => {
                let ctx = self.nodes[parent % len].ctx.shielded(u32::try_from(us).expect("small") * US);
                self.add(ctx, vec![parent % len]).is_shielded = true;
            }
            Op::Clock(parent, clock) => {
                let clock = clock % self.clocks.len();
                let ctx = self.nodes[parent % len].ctx.with_clock(self.clocks[clock].0.clone());
                self.add(ctx, vec![parent % len]).clock = clock;
            }
            Op::Merge(a, b) => {
                let ctx = self.nodes[a % len].ctx.merge(&self.nodes[b % len].ctx);
                self.add(ctx, vec![a % len, b % len]);
            }
            Op::End(which) => {
                let node = &mut self.nodes[which % len];
                if let Some(canceler) = &node.canceler {
                    canceler.cancel_with(format!("cancel {ordinal}"));
                    node.is_canceled = true;
                }
            }
            Op::Wait(which) => {
                let mut waiting = self.nodes[which % len].ctx.done_owned();
                if poll(&mut waiting, &Wakes::new()).is_pending() {
                    self.waiting.push(waiting);
                }
            }
            Op::Advance(clock, us) => {
                self.clocks[clock % self.clocks.len()].1.pass(u32::try_from(us).expect("small") * US);
            }
            Op::Observe(which, observer) => self.observe(which % len, OBSERVERS[observer % OBSERVERS.len()]),
            Op::ObserveAll(observer) => {
                for at in 0..len {
                    self.observe(at, OBSERVERS[(at + observer) % OBSERVERS.len()]);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn observers_agree_on_the_manual_clock(ops in prop::collection::vec(op(), 1..60)) {
        Tree::check(vec![Time::manual()], ops);
    }

    #[test]
    fn observers_agree_on_the_real_clock(ops in prop::collection::vec(op(), 1..60)) {
        Tree::check(vec![(Clock::system(), Time::Real)], ops);
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn observers_agree_on_tokios_paused_clock(ops in prop::collection::vec(op(), 1..60)) {
        Tree::check(vec![Time::paused()], ops);
    }

    #[test]
    fn observers_agree_on_contexts_of_several_clocks(ops in prop::collection::vec(op(), 1..60)) {
        let clocks = vec![
            Time::manual(),
            Time::manual(),
            #[cfg(feature = "tokio")]
            Time::paused(),
        ];
        Tree::check(clocks, ops);
    }
}

// ===== inputs that showed the fault =====

/// Returns a context with a deadline on the real clock. It is watched, so queries read only its own state and the clock.
fn watched(timeout: Duration) -> (Context, ripcord::AfterFunc) {
    let ctx = Context::background().with_timeout(timeout);
    let waiter = ctx.after_func(|| {});
    (ctx, waiter)
}

/// Returns pairs of observers: each observer followed by every other observer in turn.
fn pairs(rounds: usize) -> impl Iterator<Item = (Observer, Observer)> {
    (0..rounds).map(|round| {
        let first = OBSERVERS[round % OBSERVERS.len()];
        (first, OBSERVERS[(round + 1 + round / OBSERVERS.len()) % OBSERVERS.len()])
    })
}

#[test]
fn deadline_seen_by_one_observer_is_not_taken_back_by_another() {
    for (first, second) in pairs(OBSERVERS.len() * OBSERVERS.len()) {
        let (ctx, _waiter) = watched(200 * US);
        let child = ctx.with_cancel();
        observe_until_ended(first, &ctx);
        for ctx in [&ctx, &child.0, &ctx.with_name("later"), &ctx.clone()] {
            assert_ne!(second.observe(ctx), Report::Lives, "{second:?} after {first:?} of {ctx}");
        }
    }
}

#[test]
fn deadline_seen_by_a_hot_loop_is_not_taken_back() {
    for _ in 0..10 {
        let (ctx, _waiter) = watched(200 * US);
        let child = ctx.with_cancel();
        while !ctx.is_done() {}
        for ctx in [&ctx, &child.0, &ctx.with_name("later"), &ctx.clone()] {
            assert_all_report_an_end(ctx);
        }
    }
}

#[test]
fn deadline_seen_by_a_child_is_not_taken_back_by_its_parent() {
    for (first, second) in pairs(200) {
        let (ctx, _waiter) = watched(200 * US);
        let (child, _cancel) = ctx.with_cancel();
        observe_until_ended(first, &child);
        assert_ne!(second.observe(&child), Report::Lives, "{second:?} after {first:?}");
        assert_ne!(second.observe(&ctx), Report::Lives, "{second:?} after {first:?}");
    }
}

#[test]
fn deadline_seen_on_one_thread_is_not_taken_back_on_another() {
    let (requests, asked) = mpsc::channel::<(Context, Observer)>();
    let (answers, answered) = mpsc::channel();
    let stop = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (far, _waiter) = watched(HANG);
            while !stop.load(Ordering::SeqCst) {
                // A hot loop of its own keeps the thread's reading of the clock old.
                for _ in 0..50 {
                    far.is_done();
                }
                if let Ok((ctx, observer)) = asked.try_recv() {
                    answers.send(observer.observe(&ctx)).expect("the test waits");
                }
            }
        });
        for (first, second) in pairs(OBSERVERS.len() * OBSERVERS.len()) {
            let (ctx, _waiter) = watched(100 * US);
            observe_until_ended(first, &ctx);
            requests.send((ctx.with_name("child"), second)).expect("the thread listens");
            assert_ne!(answered.recv_timeout(HANG), Ok(Report::Lives), "{second:?} after {first:?}");
        }
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn merged_context_reports_the_cancel_that_came_first() {
    for _ in 0..100 {
        let ((a, cancel_a), (b, cancel_b)) = (Context::background().with_cancel(), Context::background().with_cancel());
        let _child_of_b = b.with_cancel();
        cancel_b.cancel_with("first");
        cancel_a.cancel_with("second");
        for merged in [a.merge(&b), b.merge(&a)] {
            assert_eq!(merged.cause().expect("both have ended").to_string(), "first");
        }
    }
}

#[test]
fn merged_context_reports_the_deadline_seen_before_a_cancel() {
    for _ in 0..20 {
        let (a, cancel) = Context::background().with_cancel();
        let timed = Context::background().with_timeout(100 * US);
        while timed.err().is_none() {}
        let seen = Instant::now();
        while seen.elapsed() < 300 * US {}
        cancel.cancel();
        for merged in [a.merge(&timed), timed.merge(&a)] {
            assert!(merged.err().expect("both have ended").is_deadline_exceeded());
        }
    }
}

#[test]
fn merge_during_a_cancel_reports_the_parent_that_had_ended_before() {
    for round in 0..2_000 {
        let ((p1, cancel_1), (p2, cancel_2)) =
            (Context::background().with_cancel(), Context::background().with_cancel());
        let watchers = [p1.after_func(|| {}), p2.after_func(|| {})];
        cancel_2.cancel_with("second parent");
        let (merged, ()) = common::race(
            || {
                common::jitter(round);
                p1.merge(&p2)
            },
            || {
                common::jitter(round * 31);
                cancel_1.cancel_with("first parent");
            },
        );
        assert_eq!(merged.cause().expect("a parent has ended").to_string(), "second parent", "round {round}");
        drop(watchers);
    }
}

#[test]
fn parent_canceled_after_a_child_on_its_own_clock_does_not_end_it_early() {
    // The two clocks differ. On the system's clock, the child's deadline has passed.
    let (parent, cancel) = Context::background().with_cancel();
    let (clock, time) = ripcord::Clock::manual();
    let child = parent.with_clock(clock).with_timeout(MS);
    let _waiter = child.after_func(|| {});
    let until = Instant::now() + 2 * MS;
    while Instant::now() < until {}
    cancel.cancel_with("why");
    assert!(child.err().expect("its parent has ended").is_canceled());
    time.advance(MS);
    assert!(child.err().expect("it has ended").is_canceled());
}
