//! Once any observer has reported that a context ended, no later observer reports otherwise: for the context, its clones, its
//! descendants, children created later, and merged contexts.
//!
//! The model is as plain as the rule: for each context its parents, what may end it, and the end that an observer has reported.
//! An observer that reports life is wrong if the model knows of an end at or above the context; one that reports an end is wrong
//! if nothing can have ended the context yet, or if it differs from the end reported before.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use common::{HANG, MS, Wakes, manual, poll};
use proptest::prelude::*;
use ripcord::{Canceler, Context, ErrorKind, IdleTimeout, ManualTime, MovableDeadline};

const US: Duration = Duration::from_micros(1);

// ===== the observers =====

#[derive(Debug, Clone, Copy)]
enum Observer {
    IsDone,
    HotLoop,
    Err,
    Check,
    Cause,
    Done,
    DoneOwned,
    WaitTimeout,
    Run,
    AfterFunc,
    Sleep,
    Remaining,
    Merge,
    MergeInto,
    Child,
    TimedChild,
    Clone,
    Name,
}

const OBSERVERS: [Observer; 18] = [
    Observer::IsDone,
    Observer::HotLoop,
    Observer::Err,
    Observer::Check,
    Observer::Cause,
    Observer::Done,
    Observer::DoneOwned,
    Observer::WaitTimeout,
    Observer::Run,
    Observer::AfterFunc,
    Observer::Sleep,
    Observer::Remaining,
    Observer::Merge,
    Observer::MergeInto,
    Observer::Child,
    Observer::TimedChild,
    Observer::Clone,
    Observer::Name,
];

#[derive(Debug, Clone, PartialEq)]
enum Report {
    Lives,
    /// It has ended; how it ended, if the observer says so.
    Ended(Option<(ErrorKind, String)>),
    /// The observer says nothing in this case.
    Nothing,
}

fn told(error: Option<ripcord::Error>) -> Report {
    error.map_or(Report::Lives, |error| {
        Report::Ended(Some((error.kind(), error.cause().map_or_else(String::new, ToString::to_string))))
    })
}

fn done(is_done: bool) -> Report {
    if is_done { Report::Ended(None) } else { Report::Lives }
}

fn ready(poll: Poll<ripcord::Error>) -> Report {
    match poll {
        Poll::Ready(error) => told(Some(error)),
        Poll::Pending => Report::Lives,
    }
}

impl Observer {
    fn observe(self, ctx: &Context) -> Report {
        let wakes = Wakes::new();
        match self {
            Observer::IsDone => done(ctx.is_done()),
            // Often enough for the reading of the clock to be an old one.
            Observer::HotLoop => done((0..150).any(|_| ctx.is_done())),
            Observer::Err => told(ctx.err()),
            Observer::Check => told(ctx.check().err()),
            Observer::Cause => done(ctx.cause().is_some()),
            Observer::Done => ready(poll(&mut ctx.done(), &wakes)),
            Observer::DoneOwned => ready(poll(&mut ctx.done_owned(), &wakes)),
            Observer::WaitTimeout => told(ctx.wait_timeout(Duration::ZERO)),
            Observer::Run => match poll(&mut ctx.run(std::future::ready(())), &wakes) {
                Poll::Ready(result) => told(result.err()),
                Poll::Pending => unreachable!("the future is ready"),
            },
            Observer::AfterFunc => done(!ctx.after_func(|| {}).stop()),
            Observer::Sleep => match poll(&mut ctx.sleep(Duration::ZERO), &wakes) {
                Poll::Ready(result) => told(result.err()),
                Poll::Pending => Report::Lives,
            },
            Observer::Remaining => match ctx.remaining() {
                Some(Duration::ZERO) => Report::Ended(None),
                _ => Report::Nothing,
            },
            Observer::Merge => told(ctx.merge(&common::other()).err()),
            Observer::MergeInto => done(common::other().merge(ctx).is_done()),
            Observer::Child => told(ctx.with_cancel().0.err()),
            Observer::TimedChild => done(ctx.with_timeout(Duration::from_secs(60)).is_done()),
            Observer::Clone => done(ctx.clone().is_done()),
            Observer::Name => told(ctx.with_name("below").err()),
        }
    }
}

// ===== the model =====

#[derive(Debug, Clone)]
enum Op {
    Cancel(usize),
    Timeout(usize, u64),
    Movable(usize, u64),
    Idle(usize, u64),
    Reset(usize, u64),
    Name(usize),
    Merge(usize, usize),
    End(usize),
    Wait(usize),
    Advance(u64),
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
        3 => (which.clone(), which.clone()).prop_map(|(a, b)| Op::Merge(a, b)),
        1 => which.clone().prop_map(Op::End),
        3 => which.clone().prop_map(Op::Wait),
        3 => (0..400_u64).prop_map(Op::Advance),
        8 => (which.clone(), which.clone()).prop_map(|(c, o)| Op::Observe(c, o)),
        2 => which.prop_map(Op::ObserveAll),
    ]
}

struct Node {
    ctx: Context,
    parents: Vec<usize>,
    canceler: Option<Canceler>,
    is_canceled: bool,
    deadline: Option<Instant>,
    mover: Option<Mover>,
    /// An observer has reported an end.
    is_reported: bool,
    /// How it ended, once an observer has said so.
    end: Option<(ErrorKind, String)>,
}

/// What moves the deadline of a node.
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

/// A clock that a test moves, or the real one, on which time passes.
enum Time {
    Manual(ManualTime),
    Real,
}

impl Time {
    fn now(&self) -> Instant {
        match self {
            Time::Manual(time) => time.now(),
            Time::Real => Instant::now(),
        }
    }

    fn pass(&self, duration: Duration) {
        match self {
            Time::Manual(time) => time.advance(duration),
            Time::Real => {
                let until = Instant::now() + duration;
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

struct Tree {
    nodes: Vec<Node>,
    time: Time,
    waiting: Vec<ripcord::DoneOwned>,
}

impl Tree {
    fn new(root: &Context, time: Time) -> Self {
        let mut tree = Tree { nodes: Vec::new(), time, waiting: Vec::new() };
        tree.add(root.clone(), Vec::new());
        tree
    }

    fn add(&mut self, ctx: Context, parents: Vec<usize>) -> &mut Node {
        self.nodes.push(Node {
            ctx,
            parents,
            canceler: None,
            is_canceled: false,
            deadline: None,
            mover: None,
            is_reported: false,
            end: None,
        });
        self.nodes.last_mut().expect("it was just put in")
    }

    fn any_at_or_above(&self, at: usize, found: &dyn Fn(&Node) -> bool) -> bool {
        found(&self.nodes[at]) || self.nodes[at].parents.iter().any(|parent| self.any_at_or_above(*parent, found))
    }

    fn observe(&mut self, at: usize, observer: Observer) {
        let must_be_ended = self.any_at_or_above(at, &|node| node.is_reported || node.is_canceled);
        let before = self.time.now();
        let report = observer.observe(&self.nodes[at].ctx);
        let after = self.time.now();
        let may_be_ended = must_be_ended || self.any_at_or_above(at, &|node| node.deadline.is_some_and(|d| d <= after));
        match report {
            Report::Nothing => {}
            Report::Lives => {
                assert!(!must_be_ended, "{observer:?} takes back that {} has ended", self.nodes[at].ctx);
                if let Time::Manual(_) = self.time {
                    let passed = self.any_at_or_above(at, &|node| node.deadline.is_some_and(|d| d <= before));
                    assert!(!passed, "{observer:?} misses a deadline of {}", self.nodes[at].ctx);
                }
            }
            Report::Ended(end) => {
                assert!(may_be_ended, "{observer:?} reports the end of {} early", self.nodes[at].ctx);
                let node = &mut self.nodes[at];
                node.is_reported = true;
                if end.is_some() {
                    assert!(node.end.is_none() || node.end == end, "{observer:?}: {end:?}, but before {:?}", node.end);
                    node.end = end;
                }
            }
        }
    }

    /// A reset takes effect if and only if the context has not ended, and a refused one reports the end.
    fn reset(&mut self, at: usize, after: Duration) {
        if self.nodes[at].mover.is_none() {
            return;
        }
        let must_be_ended = self.any_at_or_above(at, &|node| node.is_reported || node.is_canceled);
        let before = self.time.now();
        let passed = self.any_at_or_above(at, &|node| node.deadline.is_some_and(|deadline| deadline <= before));
        let was = self.nodes[at].deadline;
        let mover = self.nodes[at].mover.as_ref().expect("looked at above");
        let (took_effect, set) = (mover.reset(after), mover.get());
        let now = self.time.now();
        if took_effect {
            assert!(!must_be_ended && !passed, "a reset took effect after the end of {}", self.nodes[at].ctx);
            self.nodes[at].deadline = set;
        } else {
            let may_be_ended = self.any_at_or_above(at, &|node| node.deadline.is_some_and(|deadline| deadline <= now));
            assert!(must_be_ended || may_be_ended, "a reset was refused before the end of {}", self.nodes[at].ctx);
            assert_eq!(set, was, "a refused reset changed the deadline of {}", self.nodes[at].ctx);
            self.nodes[at].is_reported = true;
        }
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
                let deadline = self.time.now() + u32::try_from(us).expect("small") * US;
                let ctx = self.nodes[parent].ctx.with_deadline_cause(deadline, format!("deadline {ordinal}"));
                self.add(ctx, vec![parent]).deadline = Some(deadline);
            }
            Op::Movable(parent, us) => {
                let parent = parent % len;
                let deadline = self.time.now() + u32::try_from(us).expect("small") * US;
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
            Op::Advance(us) => self.time.pass(u32::try_from(us).expect("small") * US),
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
        let (root, time) = manual();
        let mut tree = Tree::new(&root, Time::Manual(time));
        ops.into_iter().enumerate().for_each(|(ordinal, op)| tree.apply(op, ordinal));
    }

    #[test]
    fn observers_agree_on_the_real_clock(ops in prop::collection::vec(op(), 1..60)) {
        let mut tree = Tree::new(&Context::background(), Time::Real);
        ops.into_iter().enumerate().for_each(|(ordinal, op)| tree.apply(op, ordinal));
    }
}

// ===== the inputs that showed the fault =====

/// Contexts under a deadline of the real clock, watched: what is asked is its own state and the clock.
fn watched(timeout: Duration) -> (Context, ripcord::AfterFunc) {
    let ctx = Context::background().with_timeout(timeout);
    let waiter = ctx.after_func(|| {});
    (ctx, waiter)
}

#[test]
fn deadline_seen_by_a_hot_loop_is_not_taken_back() {
    for observer in OBSERVERS.iter().cycle().take(200) {
        let (ctx, _waiter) = watched(200 * US);
        let child = ctx.with_cancel();
        while !ctx.is_done() {}
        assert!(ctx.is_done(), "taken back");
        for ctx in [&ctx, &child.0, &ctx.with_name("later"), &ctx.clone()] {
            assert_ne!(observer.observe(ctx), Report::Lives, "{observer:?} of {ctx}");
        }
    }
}

#[test]
fn deadline_seen_by_a_child_is_not_taken_back_by_its_parent() {
    for observer in OBSERVERS.iter().cycle().take(200) {
        let (ctx, _waiter) = watched(200 * US);
        let (child, _cancel) = ctx.with_cancel();
        while !child.is_done() {}
        assert_ne!(observer.observe(&child), Report::Lives, "{observer:?}");
        assert_ne!(observer.observe(&ctx), Report::Lives, "{observer:?}");
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
                // Its reading of the clock is kept old by a hot loop of its own.
                for _ in 0..50 {
                    far.is_done();
                }
                if let Ok((ctx, observer)) = asked.try_recv() {
                    answers.send(observer.observe(&ctx)).expect("the test waits");
                }
            }
        });
        for observer in OBSERVERS.iter().cycle().take(200) {
            let (ctx, _waiter) = watched(100 * US);
            while !ctx.is_done() {}
            requests.send((ctx.with_name("child"), *observer)).expect("the thread listens");
            assert_ne!(answered.recv_timeout(HANG), Ok(Report::Lives), "{observer:?}");
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
    // The two clocks do not agree: by the system's the child's deadline would have passed.
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
