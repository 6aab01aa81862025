//! Random trees of operations, compared with a simple model.
//!
//! The model is a list of nodes. The model stores no ends. Whenever the test queries a node, the model computes the end of the
//! node from the definition, back to the root. Each event that can end a node has a moment, which is a time and the number of
//! the operation within that time. The earliest moment wins. These are semantics 4, 5 and 8:
//!
//! - A cancel ends its node at the moment of the call.
//! - A deadline ends its node when its time comes, before any operation at that time. It ends the node at once if it is in the
//!   past when the node is created.
//! - A shielded node ends its grace after its parent, before any operation at that time.
//! - A parent's end also ends the child, and so does the end of either parent of a merge.
//! - A movable deadline or an idle timeout moves while its node has not ended, and never after that.
//!
//! Two deadlines at one instant may end a node with either cause. The same holds for the parents of a merge if both were done
//! when the merge was created. The first answer decides, and every node below must agree with that answer.
//!
//! With several clocks, each deadline ends its node when its own clock has reached it. Times on different clocks do not tell
//! which of several ends came first, so the first answer may be any of them.
//!
//! The implementation is queried only when the list of operations contains a query. So the test also covers ends that no call
//! has observed and no waiter has waited for.
//!
//! A failure prints the shortest list of operations that shows it, and stores its seed in `property.regressions`.
//! `PROPTEST_RNG_SEED=1` sets another seed. `PROPTEST_CASES=100000` runs more cases.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use common::time::Time;
use common::{Trace, User, Wakes, bump, eventually, poll};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};
use ripcord::{AfterFunc, Canceler, Clock, Context, DoneOwned, Error, ErrorKind, IdleTimeout, MovableDeadline};

// ===== operations =====

/// Numbers that select a context, canceler, future or callback are taken modulo the number of those.
#[derive(Debug, Clone)]
enum Op {
    WithCancel(usize),
    WithTimeout(usize, u64, bool),
    WithDeadline(usize, i64, bool),
    WithTimeoutMax(usize),
    WithUser(usize),
    WithTrace(usize),
    WithName(usize),
    WithoutCancel(usize),
    /// With a grace in milliseconds.
    Shielded(usize, u64),
    Merge(usize, usize),
    /// With several clocks only.
    WithClock(usize, usize),
    WithMovableDeadline(usize, i64, bool),
    WithIdleTimeout(usize, u64, bool),
    /// The new deadline, in milliseconds from now. `None` is never.
    ResetDeadline(usize, Option<i64>),
    /// The new deadline, in milliseconds from now.
    ExtendDeadline(usize, i64),
    ResetIdleTimeout(usize),
    Progress(usize),
    DropHandle(usize),
    Cancel(usize, bool),
    CancelByHandle(usize, bool),
    DropCanceler(usize),
    Detach(usize),
    /// Advances a clock by milliseconds.
    Advance(usize, u64),
    Wait(usize),
    PollAgain(usize),
    DropFuture(usize),
    AfterFunc(usize),
    Stop(usize),
    DropContext(usize),
    Check(usize),
    CheckAll,
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0..1_000_usize;
    prop_oneof![
        6 => which.clone().prop_map(Op::WithCancel),
        5 => (which.clone(), 0..60_u64, any::<bool>()).prop_map(|(p, ms, cause)| Op::WithTimeout(p, ms, cause)),
        3 => (which.clone(), -20..60_i64, any::<bool>()).prop_map(|(p, ms, cause)| Op::WithDeadline(p, ms, cause)),
        1 => which.clone().prop_map(Op::WithTimeoutMax),
        2 => which.clone().prop_map(Op::WithUser),
        2 => which.clone().prop_map(Op::WithTrace),
        2 => which.clone().prop_map(Op::WithName),
        1 => which.clone().prop_map(Op::WithoutCancel),
        3 => (which.clone(), 0..30_u64).prop_map(|(p, ms)| Op::Shielded(p, ms)),
        3 => (which.clone(), which.clone()).prop_map(|(a, b)| Op::Merge(a, b)),
        3 => (which.clone(), which.clone()).prop_map(|(p, clock)| Op::WithClock(p, clock)),
        3 => (which.clone(), -20..60_i64, any::<bool>()).prop_map(|(p, ms, cause)| Op::WithMovableDeadline(p, ms, cause)),
        2 => (which.clone(), 0..60_u64, any::<bool>()).prop_map(|(p, ms, cause)| Op::WithIdleTimeout(p, ms, cause)),
        4 => (which.clone(), prop::option::weighted(0.8, -20..60_i64)).prop_map(|(h, ms)| Op::ResetDeadline(h, ms)),
        2 => (which.clone(), -20..60_i64).prop_map(|(h, ms)| Op::ExtendDeadline(h, ms)),
        2 => which.clone().prop_map(Op::ResetIdleTimeout),
        2 => which.clone().prop_map(Op::Progress),
        1 => which.clone().prop_map(Op::DropHandle),
        3 => (which.clone(), any::<bool>()).prop_map(|(c, cause)| Op::Cancel(c, cause)),
        1 => (which.clone(), any::<bool>()).prop_map(|(c, cause)| Op::CancelByHandle(c, cause)),
        1 => which.clone().prop_map(Op::DropCanceler),
        1 => which.clone().prop_map(Op::Detach),
        4 => (which.clone(), 0..20_u64).prop_map(|(clock, ms)| Op::Advance(clock, ms)),
        6 => which.clone().prop_map(Op::Wait),
        2 => which.clone().prop_map(Op::PollAgain),
        2 => which.clone().prop_map(Op::DropFuture),
        2 => which.clone().prop_map(Op::AfterFunc),
        1 => which.clone().prop_map(Op::Stop),
        3 => which.clone().prop_map(Op::DropContext),
        3 => which.prop_map(Op::Check),
        1 => Just(Op::CheckAll),
    ]
}

// ===== the model =====

/// The moment of an event: milliseconds, then the number of the operation. A deadline comes before any operation.
type Moment = (i64, usize);

type Outcome = (ErrorKind, Option<String>);

#[derive(Debug, Default)]
struct Node {
    parent: Option<usize>,
    other: Option<usize>,
    /// Whether the parent's deadline, cancel and cause have no effect on the node.
    cut: bool,
    /// The time from the parent's end to the node's end.
    grace: Option<i64>,
    made: Moment,
    /// The clock of its deadlines.
    clock: usize,
    canceled: Option<(Moment, Option<String>)>,
    deadline: Option<(i64, Option<String>)>,
    movable: Option<Movable>,
    /// Whether a deadline that can be moved is at or above the node.
    is_movable: bool,
    /// Whether such a deadline or a merge is at or above the node. Then the end of a deadline counts, and not the deadline
    /// itself.
    holds_no_deadline: bool,
    user: Option<User>,
    trace: Option<Trace>,
    name: Option<String>,
    /// The end that an observer has seen, if several ends were possible.
    settled: Option<Outcome>,
}

/// The state of a deadline that can be moved, besides the deadline itself.
#[derive(Debug)]
struct Movable {
    cause: Option<String>,
    /// The last move.
    moved: Moment,
    /// The length of an idle timeout.
    idle: Option<i64>,
}

/// An end, and the errors that an observer may report for it.
struct End {
    at: Moment,
    /// The time from which a grace counts. The node may have been created after that time.
    since: i64,
    outcomes: Vec<Outcome>,
}

impl End {
    fn is_deadline(&self) -> bool {
        self.outcomes.iter().all(|(kind, _)| *kind == ErrorKind::DeadlineExceeded)
    }
}

#[derive(Default)]
struct Model {
    nodes: Vec<Node>,
    /// The time of each clock.
    now: Vec<i64>,
    ops: usize,
}

impl Model {
    fn now(&self, id: usize) -> i64 {
        self.now[self.nodes[id].clock]
    }

    fn moment(&self, id: usize) -> Moment {
        (self.now(id), self.ops)
    }

    fn has_clocks(&self) -> bool {
        self.now.len() > 1
    }

    fn add(&mut self, parent: usize, node: Node) {
        let (made, clock) = (self.moment(parent), self.nodes[parent].clock);
        let above: Vec<_> = (!node.cut).then_some(parent).into_iter().chain(node.other).collect();
        let is_movable = node.movable.is_some() || above.iter().any(|above| self.nodes[*above].is_movable);
        let is_below = above.iter().any(|above| self.nodes[*above].holds_no_deadline);
        let holds_no_deadline = is_movable || node.other.is_some() || is_below;
        self.nodes.push(Node { parent: Some(parent), made, clock, is_movable, holds_no_deadline, ..node });
    }

    /// Moves a deadline. Returns whether the move took effect.
    fn move_deadline(&mut self, id: usize, to: Option<i64>) -> bool {
        let is_live = self.end(id).is_none();
        let (now, moment) = (self.now(id), self.moment(id));
        let node = &mut self.nodes[id];
        if let Some(movable) = &mut node.movable
            && is_live
        {
            movable.moved = moment;
            node.deadline = to.map(|to| (to.max(now), movable.cause.clone()));
        }
        is_live
    }

    /// Moves a deadline later, or leaves it unchanged. Returns whether the node has not ended.
    fn extend_deadline(&mut self, id: usize, to: i64) -> bool {
        match &self.nodes[id].deadline {
            Some((at, _)) if *at < to.max(self.now(id)) => self.move_deadline(id, Some(to)),
            _ => self.end(id).is_none(),
        }
    }

    fn reset_idle_timeout(&mut self, id: usize) -> bool {
        let idle = self.nodes[id].movable.as_ref().and_then(|movable| movable.idle).expect("an idle timeout");
        self.move_deadline(id, Some(self.now(id) + idle))
    }

    /// Returns the nearest idle timeouts at or above a node: one on each path up.
    fn idle_timeouts(&self, id: usize) -> Vec<usize> {
        let node = &self.nodes[id];
        if node.movable.as_ref().is_some_and(|movable| movable.idle.is_some()) {
            return vec![id];
        }
        if node.cut || node.grace.is_some() {
            return vec![];
        }
        node.parent.into_iter().chain(node.other).flat_map(|above| self.idle_timeouts(above)).collect()
    }

    fn end(&self, id: usize) -> Option<End> {
        let node = &self.nodes[id];
        let mut ends = Vec::new();
        if !node.cut {
            ends.extend(node.parent.and_then(|parent| self.end(parent)));
        }
        if let (Some(grace), Some(end)) = (node.grace, ends.first_mut()) {
            end.since += grace;
            end.at = (end.since, 0);
            if end.since > self.now(id) {
                ends.clear();
            }
        }
        ends.extend(node.other.and_then(|other| self.end(other)));
        // An inherited end counts from the node's first moment, even if a parent was done before.
        for end in &mut ends {
            end.at = end.at.max(node.made);
            // The deadline in effect may have been set, in the past, below a context that had ended. Below a movable deadline,
            // and below a merge, the end itself counts.
            if !node.holds_no_deadline && end.outcomes.iter().all(|(kind, _)| *kind == ErrorKind::DeadlineExceeded) {
                end.since = self.deadline(id).unwrap_or(end.since);
            }
        }
        let inherited = !self.has_clocks() && ends.iter().any(|end| end.at == node.made);
        if let Some((at, cause)) = &node.canceled {
            ends.push(End { at: *at, since: at.0, outcomes: vec![(ErrorKind::Canceled, cause.clone())] });
        }
        if let Some((at, cause)) = &node.deadline
            && *at <= self.now(id)
            && !inherited
        {
            let since = *at;
            let at = node.movable.as_ref().map_or((since, 0), |movable| movable.moved.max((since, 0))).max(node.made);
            ends.push(End { at, since, outcomes: vec![(ErrorKind::DeadlineExceeded, cause.clone())] });
        }
        let (at, since) = ends.iter().map(|end| (end.at, end.since)).min()?;
        let outcomes = match &node.settled {
            Some(outcome) => vec![outcome.clone()],
            None => {
                // A deadline that was moved to the present is at one instant with the deadlines that have just passed.
                let at_an_instant = node.is_movable && ends.iter().any(|end| end.at == at && end.is_deadline());
                let is_first = |end: &End| {
                    self.has_clocks() || end.at == at || at_an_instant && end.at.0 == at.0 && end.is_deadline()
                };
                ends.into_iter().filter(is_first).flat_map(|end| end.outcomes).collect()
            }
        };
        Some(End { at, since, outcomes })
    }

    fn deadline(&self, id: usize) -> Option<i64> {
        let node = &self.nodes[id];
        let above = if node.cut { None } else { node.parent.and_then(|parent| self.deadline(parent)) };
        let above = above.map(|at| at + node.grace.unwrap_or(0));
        let beside = node.other.and_then(|other| self.deadline(other));
        // An idle timeout is no deadline.
        let is_idle = node.movable.as_ref().is_some_and(|movable| movable.idle.is_some());
        let own = node.deadline.as_ref().filter(|_| !is_idle).map(|(at, _)| *at);
        [own, above, beside].into_iter().flatten().min()
    }

    fn find<'a, T>(&'a self, id: usize, own: &impl Fn(&'a Node) -> Option<&'a T>) -> Option<&'a T> {
        let node = &self.nodes[id];
        own(node)
            .or_else(|| node.parent.and_then(|parent| self.find(parent, own)))
            .or_else(|| node.other.and_then(|other| self.find(other, own)))
    }

    fn name(&self, id: usize) -> Option<&str> {
        let node = &self.nodes[id];
        node.name.as_deref().or_else(|| self.name(node.parent?))
    }
}

// ===== the model and the implementation =====

struct Waiting {
    node: usize,
    future: DoneOwned,
    wakes: Arc<Wakes>,
    /// Whether its last poll was pending. In that case an end must wake it.
    pending: bool,
}

struct Callback {
    node: usize,
    handle: AfterFunc,
    ran: Arc<AtomicUsize>,
    stopped: bool,
}

struct World {
    model: Model,
    clocks: Arc<Vec<(Clock, Time)>>,
    zero: Instant,
    contexts: Vec<Option<Context>>,
    cancelers: Vec<(usize, Option<Canceler>)>,
    deadlines: Vec<(usize, MovableDeadline)>,
    idle_timeouts: Vec<(usize, IdleTimeout)>,
    futures: Vec<Waiting>,
    callbacks: Vec<Callback>,
}

impl World {
    fn new(clocks: Arc<Vec<(Clock, Time)>>) -> World {
        // All clocks show zero at the start, an hour after their beginning, so that instants in the past can be represented.
        clocks.iter().for_each(|(_, time)| time.pass(common::HOUR));
        let zero = clocks.iter().map(|(_, time)| time.now()).max().expect("a clock");
        clocks.iter().for_each(|(_, time)| time.pass(zero - time.now()));
        let model = Model { nodes: vec![Node::default()], now: vec![0; clocks.len()], ops: 0 };
        let contexts = vec![Some(Context::background().with_clock(clocks[0].0.clone()))];
        World {
            model,
            clocks,
            zero,
            contexts,
            cancelers: vec![],
            deadlines: vec![],
            idle_timeouts: vec![],
            futures: vec![],
            callbacks: vec![],
        }
    }

    /// Returns a context that has not been dropped. The root is never dropped.
    fn living(&self, n: usize) -> (usize, &Context) {
        let living: Vec<_> = self.contexts.iter().enumerate().filter_map(|(i, c)| Some((i, c.as_ref()?))).collect();
        living[n % living.len()]
    }

    fn canceler(&self, n: usize) -> Option<(usize, usize)> {
        let living: Vec<_> = self.cancelers.iter().enumerate().filter(|(_, (_, c))| c.is_some()).collect();
        let (i, (node, _)) = living.get(n.checked_rem(living.len())?)?;
        Some((*i, *node))
    }

    fn derive(&mut self, from: usize, f: impl FnOnce(&Context) -> Context, node: Node) {
        let (parent, ctx) = self.living(from);
        let child = f(ctx);
        self.model.add(parent, node);
        self.contexts.push(Some(child));
    }

    fn add_movable(&mut self, parent: usize, child: Context, at: i64, cause: Option<String>, idle: Option<i64>) {
        let deadline = Some((at, cause.clone()));
        let movable = Some(Movable { cause, moved: self.model.moment(parent), idle });
        self.model.add(parent, Node { deadline, movable, ..Node::default() });
        self.contexts.push(Some(child));
    }

    fn ended_by_hand(&mut self, node: usize, cause: Option<String>) {
        let at = self.model.moment(node);
        if self.model.end(node).is_none() {
            self.model.nodes[node].canceled = Some((at, cause));
        }
    }

    fn apply(&mut self, op: &Op) {
        self.model.ops += 1;
        let mark = self.model.ops;
        let cause = |wanted: bool| wanted.then(|| format!("cause {mark}"));
        match *op {
            Op::WithCancel(p) => {
                let (parent, ctx) = self.living(p);
                let (child, cancel) = ctx.with_cancel();
                self.model.add(parent, Node::default());
                self.cancelers.push((self.contexts.len(), Some(cancel)));
                self.contexts.push(Some(child));
            }
            Op::WithTimeout(p, ms, wanted) => {
                let (cause, d) = (cause(wanted), Duration::from_millis(ms));
                let (parent, _) = self.living(p);
                let deadline = Some((self.model.now(parent) + i64::try_from(ms).expect("small"), cause.clone()));
                let make = |ctx: &Context| match cause {
                    Some(cause) => ctx.with_timeout_cause(d, cause),
                    None => ctx.with_timeout(d),
                };
                self.derive(p, make, Node { deadline, ..Node::default() });
            }
            Op::WithDeadline(p, ms, wanted) => {
                let cause = cause(wanted);
                let at = self.model.now(self.living(p).0) + ms;
                let instant = self.instant(at);
                let make = |ctx: &Context| match cause.clone() {
                    Some(cause) => ctx.with_deadline_cause(instant, cause),
                    None => ctx.with_deadline(instant),
                };
                self.derive(p, make, Node { deadline: Some((at, cause.clone())), ..Node::default() });
            }
            Op::WithTimeoutMax(p) => self.derive(p, |ctx| ctx.with_timeout(Duration::MAX), Node::default()),
            Op::WithUser(p) => {
                let user = User(u32::try_from(mark).expect("small"));
                self.derive(
                    p,
                    |ctx| ctx.with_value(user.clone()),
                    Node { user: Some(user.clone()), ..Node::default() },
                );
            }
            Op::WithTrace(p) => {
                let trace = Trace(mark.to_string());
                let node = Node { trace: Some(trace.clone()), ..Node::default() };
                self.derive(p, |ctx| ctx.with_value(trace), node);
            }
            Op::WithName(p) => {
                let name = format!("name {mark}");
                let node = Node { name: Some(name.clone()), ..Node::default() };
                self.derive(p, |ctx| ctx.with_name(name), node);
            }
            Op::WithoutCancel(p) => self.derive(p, Context::without_cancel, Node { cut: true, ..Node::default() }),
            // With several clocks, the end from which the grace counts is not known.
            Op::Shielded(..) if self.model.has_clocks() => {}
            Op::Shielded(p, ms) => {
                // A grace of 0 changes nothing.
                let grace = i64::try_from(ms).ok().filter(|ms| *ms > 0);
                let make = |ctx: &Context| ctx.shielded(Duration::from_millis(ms));
                self.derive(p, make, Node { grace, ..Node::default() });
            }
            Op::Merge(a, b) => {
                let (other, right) = self.living(b);
                let right = right.clone();
                self.derive(a, |left| left.merge(&right), Node { other: Some(other), ..Node::default() });
            }
            Op::WithClock(p, clock) => {
                if self.model.has_clocks() {
                    let clock = clock % self.clocks.len();
                    let object = self.clocks[clock].0.clone();
                    self.derive(p, |ctx| ctx.with_clock(object), Node::default());
                    self.model.nodes.last_mut().expect("it was just added").clock = clock;
                }
            }
            Op::WithMovableDeadline(p, ms, wanted) => {
                let cause = cause(wanted);
                let (parent, ctx) = self.living(p);
                let at = self.model.now(parent) + ms;
                let instant = self.instant(at);
                let (child, deadline) = match cause.clone() {
                    Some(cause) => ctx.with_movable_deadline_cause(instant, cause),
                    None => ctx.with_movable_deadline(instant),
                };
                self.add_movable(parent, child, at, cause, None);
                self.deadlines.push((self.contexts.len() - 1, deadline));
            }
            Op::WithIdleTimeout(p, ms, wanted) => {
                let (cause, timeout) = (cause(wanted), Duration::from_millis(ms));
                let ms = i64::try_from(ms).expect("small");
                let (parent, ctx) = self.living(p);
                let (child, idle) = match cause.clone() {
                    Some(cause) => ctx.with_idle_timeout_cause(timeout, cause),
                    None => ctx.with_idle_timeout(timeout),
                };
                self.add_movable(parent, child, self.model.now(parent) + ms, cause, Some(ms));
                self.idle_timeouts.push((self.contexts.len() - 1, idle));
            }
            Op::ResetDeadline(h, ms) => {
                let Some(h) = h.checked_rem(self.deadlines.len()) else { return };
                let (node, deadline) = &self.deadlines[h];
                let to = ms.map(|ms| self.model.now(*node) + ms);
                let instant = to.map_or_else(|| self.zero + 400 * 365 * 24 * common::HOUR, |to| self.instant(to));
                let took_effect = self.model.move_deadline(*node, to);
                assert_eq!(deadline.reset(instant), took_effect, "reset of the deadline of context {node}");
                self.check_setting(h);
            }
            Op::ExtendDeadline(h, ms) => {
                let Some(h) = h.checked_rem(self.deadlines.len()) else { return };
                let (node, deadline) = &self.deadlines[h];
                let to = self.model.now(*node) + ms;
                let instant = self.instant(to);
                let took_effect = self.model.extend_deadline(*node, to);
                assert_eq!(deadline.extend(instant), took_effect, "extension of the deadline of context {node}");
                self.check_setting(h);
            }
            Op::ResetIdleTimeout(h) => {
                let Some(h) = h.checked_rem(self.idle_timeouts.len()) else { return };
                let (node, idle) = &self.idle_timeouts[h];
                let took_effect = self.model.reset_idle_timeout(*node);
                assert_eq!(idle.reset(), took_effect, "reset of the idle timeout of context {node}");
                let setting = self.model.nodes[*node].deadline.as_ref().map(|(at, _)| self.instant(*at));
                assert_eq!(self.idle_timeouts[h].1.get(), setting, "setting of the idle timeout of context {node}");
            }
            Op::Progress(p) => {
                let (node, ctx) = self.living(p);
                let ctx = ctx.clone();
                let nearest = self.model.idle_timeouts(node);
                let in_time = nearest.iter().filter(|id| self.model.reset_idle_timeout(**id)).count();
                let expected = in_time == nearest.len() && in_time > 0;
                assert_eq!(ctx.progress(), expected, "progress of context {node}");
            }
            Op::DropHandle(h) => {
                let count = self.deadlines.len() + self.idle_timeouts.len();
                let Some(h) = h.checked_rem(count) else { return };
                if h < self.deadlines.len() {
                    self.deadlines.swap_remove(h);
                } else {
                    self.idle_timeouts.swap_remove(h - self.deadlines.len());
                }
            }
            Op::Cancel(c, wanted) | Op::CancelByHandle(c, wanted) => {
                let Some((i, node)) = self.canceler(c) else { return };
                let canceler = self.cancelers[i].1.as_ref().expect("living");
                let cause = cause(wanted);
                match (op, cause.clone()) {
                    (Op::Cancel(..), Some(cause)) => canceler.cancel_with(cause),
                    (Op::Cancel(..), None) => canceler.cancel(),
                    (_, Some(cause)) => canceler.handle().cancel_with(cause),
                    (_, None) => canceler.handle().cancel(),
                }
                self.ended_by_hand(node, cause);
            }
            Op::DropCanceler(c) => {
                let Some((i, node)) = self.canceler(c) else { return };
                self.cancelers[i].1 = None;
                self.ended_by_hand(node, None);
            }
            Op::Detach(c) => {
                let Some((i, _)) = self.canceler(c) else { return };
                self.cancelers[i].1.take().expect("living").detach();
            }
            Op::Advance(clock, ms) => {
                let clock = clock % self.clocks.len();
                self.clocks[clock].1.pass(Duration::from_millis(ms));
                self.model.now[clock] += i64::try_from(ms).expect("small");
            }
            Op::Wait(p) => {
                let (node, ctx) = self.living(p);
                let (mut future, wakes) = (ctx.done_owned(), Wakes::new());
                let pending = match poll(&mut future, &wakes) {
                    Poll::Pending => {
                        assert!(self.model.end(node).is_none(), "pending on context {node}, which is done");
                        true
                    }
                    Poll::Ready(error) => {
                        self.judge(node, &error);
                        false
                    }
                };
                self.futures.push(Waiting { node, future, wakes, pending });
            }
            Op::PollAgain(f) => {
                let Some(f) = f.checked_rem(self.futures.len()) else { return };
                if !self.futures[f].pending {
                    return;
                }
                self.check_wakes(f);
                let waiting = &mut self.futures[f];
                let node = waiting.node;
                waiting.wakes = Wakes::new();
                match poll(&mut waiting.future, &waiting.wakes) {
                    Poll::Pending => {
                        assert!(self.model.end(node).is_none(), "pending on context {node}, which is done")
                    }
                    Poll::Ready(error) => {
                        waiting.pending = false;
                        self.judge(node, &error);
                    }
                }
            }
            Op::DropFuture(f) => {
                let Some(f) = f.checked_rem(self.futures.len()) else { return };
                self.check_wakes(f);
                let waiting = self.futures.swap_remove(f);
                drop(waiting.future);
                assert_eq!(waiting.wakes.held(), 0, "a waker is kept after its future is gone");
            }
            Op::AfterFunc(p) => {
                let (node, ctx) = self.living(p);
                let ran = Arc::new(AtomicUsize::new(0));
                let handle = ctx.after_func({
                    let ran = Arc::clone(&ran);
                    move || bump(&ran)
                });
                self.callbacks.push(Callback { node, handle, ran, stopped: false });
            }
            Op::Stop(c) => {
                let Some(c) = c.checked_rem(self.callbacks.len()) else { return };
                let live = self.model.end(self.callbacks[c].node).is_none();
                let callback = &mut self.callbacks[c];
                let stopped = callback.handle.stop();
                assert!(!(stopped && callback.stopped), "stopped twice");
                assert!(stopped || callback.stopped || !live, "stop() was false on a live context");
                callback.stopped |= stopped;
            }
            Op::DropContext(p) => {
                let (i, _) = self.living(p);
                if i != 0 {
                    self.contexts[i] = None;
                }
            }
            Op::Check(p) => {
                let (node, _) = self.living(p);
                self.check(node);
            }
            Op::CheckAll => self.check_all(),
        }
    }

    fn instant(&self, at: i64) -> Instant {
        // Zero is an hour after the clock's beginning.
        let hour = 3_600_000;
        self.zero - Duration::from_millis(hour) + Duration::from_millis(u64::try_from(at + 3_600_000).expect("small"))
    }

    fn check_setting(&self, h: usize) {
        let (node, deadline) = &self.deadlines[h];
        let setting = self.model.nodes[*node].deadline.as_ref().map(|(at, _)| self.instant(*at));
        assert_eq!(deadline.get(), setting, "setting of the deadline of context {node}");
    }

    /// Checks an error that the implementation has reported for `node`.
    fn judge(&mut self, node: usize, error: &Error) {
        let Some(end) = self.model.end(node) else { panic!("context {node} is done too early: {error:#}") };
        let said = (error.kind(), error.cause().map(ToString::to_string));
        assert!(end.outcomes.contains(&said), "context {node} says {said:?}, not one of {:?}", end.outcomes);
        self.model.nodes[node].settled = Some(said);
    }

    fn check(&mut self, node: usize) {
        let ctx = self.contexts[node].clone().expect("living");
        let end = self.model.end(node);
        assert_eq!(ctx.is_done(), end.is_some(), "is_done of context {node}");
        match ctx.err() {
            Some(error) => {
                self.judge(node, &error);
                let cause = ctx.cause().expect("done").to_string();
                assert_eq!(cause, error.cause().map_or_else(|| error.to_string(), ToString::to_string));
                assert_eq!(ctx.check().expect_err("done").kind(), error.kind());
            }
            None => {
                assert!(end.is_none(), "err of context {node}");
                assert!(ctx.cause().is_none() && ctx.check().is_ok());
            }
        }
        let deadline = self.model.deadline(node).map(|at| self.instant(at));
        assert_eq!(ctx.deadline(), deadline, "deadline of context {node}");
        let remaining = deadline.map(|at| at.saturating_duration_since(self.instant(self.model.now(node))));
        assert_eq!(ctx.remaining(), remaining, "what remains of context {node}");
        assert_eq!(ctx.value(), self.model.find(node, &|n| n.user.as_ref()), "user of context {node}");
        assert_eq!(ctx.value(), self.model.find(node, &|n| n.trace.as_ref()), "trace of context {node}");
        // If a name is above the node only through the second parent of a merge, nothing is guaranteed.
        if let Some(name) = self.model.name(node) {
            assert_eq!(ctx.name(), Some(name), "name of context {node}");
        }
    }

    /// Checks that the future was woken once if its context is done, and not at all otherwise.
    fn check_wakes(&self, f: usize) {
        let waiting = &self.futures[f];
        let due = waiting.pending && self.model.end(waiting.node).is_some();
        assert_eq!(waiting.wakes.count(), usize::from(due), "wakes of a future on context {}", waiting.node);
    }

    fn check_all(&mut self) {
        for node in 0..self.contexts.len() {
            if self.contexts[node].is_some() {
                self.check(node);
            }
        }
        for f in 0..self.futures.len() {
            self.check_wakes(f);
        }
    }

    fn finish(mut self) {
        self.check_all();
        for waiting in &mut self.futures {
            if waiting.pending && waiting.wakes.count() == 1 {
                assert!(poll(&mut waiting.future, &Wakes::new()).is_ready());
            }
        }
        for callback in &self.callbacks {
            if self.model.end(callback.node).is_some() && !callback.stopped {
                eventually("a callback of a done context", || callback.ran.load(Ordering::SeqCst) == 1);
            }
        }
        // The functions that had to run have run once. The others have not run.
        for callback in &self.callbacks {
            let due = self.model.end(callback.node).is_some() && !callback.stopped;
            assert_eq!(
                callback.ran.load(Ordering::SeqCst),
                usize::from(due),
                "a callback on context {}",
                callback.node
            );
        }
        // No function stays registered, so that cases do not accumulate.
        for callback in self.callbacks {
            callback.handle.stop();
        }
    }
}

fn run(clocks: Vec<(Clock, Time)>, ops: &[Op]) {
    let clocks = Arc::new(clocks);
    let mut world = World::new(Arc::clone(&clocks));
    Time::enter_all(clocks.iter().map(|(_, time)| time), || {
        for op in ops {
            world.apply(op);
        }
        world.finish();
    });
}

fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(18);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config.failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("regressions")));
    config
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn tree_agrees_with_the_model(ops in prop::collection::vec(op(), 1..70)) {
        run(vec![Time::manual()], &ops);
    }
}

proptest! {
    #![proptest_config(config(500))]

    #[cfg(feature = "tokio")]
    #[test]
    fn tree_on_tokios_paused_clock_does_what_the_model_says(ops in prop::collection::vec(op(), 1..70)) {
        run(vec![Time::paused()], &ops);
    }

    #[test]
    fn tree_on_several_clocks_does_what_the_model_says(ops in prop::collection::vec(op(), 1..70)) {
        let clocks = vec![
            Time::manual(),
            Time::manual(),
            #[cfg(feature = "tokio")]
            Time::paused(),
        ];
        run(clocks, &ops);
    }
}

// ===== the model rejects a wrong answer =====

#[test]
fn model_knows_the_tie_rules() {
    let mut world = World::new(Arc::new(vec![Time::manual()]));
    // Context 1 is cancelable. Context 2 is below it, with a timeout of 10 ms and no waiter. Context 1 is canceled at 11 ms.
    for op in [
        Op::WithCancel(0),
        Op::WithTimeout(1, 10, true),
        Op::Advance(0, 11),
        Op::Cancel(0, true),
        Op::WithTimeout(1, 0, true),
    ] {
        world.apply(&op);
    }
    let said = |world: &World, node| world.model.end(node).map(|end| end.outcomes);
    assert_eq!(said(&world, 0), None);
    assert_eq!(said(&world, 1), Some(vec![(ErrorKind::Canceled, Some("cause 4".to_owned()))]));
    assert_eq!(said(&world, 2), Some(vec![(ErrorKind::DeadlineExceeded, Some("cause 2".to_owned()))]));
    assert_eq!(said(&world, 3), Some(vec![(ErrorKind::Canceled, Some("cause 4".to_owned()))]));
    assert_eq!(world.model.deadline(3), Some(11));
    world.finish();
}
