//! The model and the implementation, which do the same operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use ripcord::{AfterFunc, Canceler, Clock, Context, DoneOwned, Error, IdleTimeout, MovableDeadline};

use super::model::{Model, Movable, Node};
use super::operations::Op;
use crate::common::time::Time;
use crate::common::{Trace, User, Wakes, bump, eventually, poll};

pub(super) struct Waiting {
    pub(super) node: usize,
    pub(super) future: DoneOwned,
    pub(super) wakes: Arc<Wakes>,
    /// Whether its last poll was pending. In that case an end must wake it.
    pub(super) pending: bool,
}

pub(super) struct Callback {
    pub(super) node: usize,
    pub(super) handle: AfterFunc,
    pub(super) ran: Arc<AtomicUsize>,
    pub(super) stopped: bool,
}

pub(super) struct World {
    pub(super) model: Model,
    pub(super) clocks: Arc<Vec<(Clock, Time)>>,
    pub(super) zero: Instant,
    pub(super) contexts: Vec<Option<Context>>,
    pub(super) cancelers: Vec<(usize, Option<Canceler>)>,
    pub(super) deadlines: Vec<(usize, MovableDeadline)>,
    pub(super) idle_timeouts: Vec<(usize, IdleTimeout)>,
    pub(super) futures: Vec<Waiting>,
    pub(super) callbacks: Vec<Callback>,
}

impl World {
    pub(super) fn new(clocks: Arc<Vec<(Clock, Time)>>) -> World {
        // All clocks show zero at the start, an hour after their beginning, so that instants in the past can be represented.
        clocks.iter().for_each(|(_, time)| time.pass(crate::common::HOUR));
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
    pub(super) fn living(&self, n: usize) -> (usize, &Context) {
        let living: Vec<_> = self.contexts.iter().enumerate().filter_map(|(i, c)| Some((i, c.as_ref()?))).collect();
        living[n % living.len()]
    }

    pub(super) fn canceler(&self, n: usize) -> Option<(usize, usize)> {
        let living: Vec<_> = self.cancelers.iter().enumerate().filter(|(_, (_, c))| c.is_some()).collect();
        let (i, (node, _)) = living.get(n.checked_rem(living.len())?)?;
        Some((*i, *node))
    }

    pub(super) fn derive(&mut self, from: usize, f: impl FnOnce(&Context) -> Context, node: Node) {
        let (parent, ctx) = self.living(from);
        let child = f(ctx);
        self.model.add(parent, node);
        self.contexts.push(Some(child));
    }

    pub(super) fn add_movable(
        &mut self,
        parent: usize,
        child: Context,
        at: i64,
        cause: Option<String>,
        idle: Option<i64>,
    ) {
        let deadline = Some((at, cause.clone()));
        let movable = Some(Movable { cause, moved: self.model.moment(parent), idle });
        self.model.add(parent, Node { deadline, movable, ..Node::default() });
        self.contexts.push(Some(child));
    }

    pub(super) fn ended_by_hand(&mut self, node: usize, cause: Option<String>) {
        let at = self.model.moment(node);
        if self.model.end(node).is_none() {
            self.model.nodes[node].canceled = Some((at, cause));
        }
    }

    pub(super) fn apply(&mut self, op: &Op) {
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
                let instant =
                    to.map_or_else(|| self.zero + 400 * 365 * 24 * crate::common::HOUR, |to| self.instant(to));
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

    pub(super) fn instant(&self, at: i64) -> Instant {
        // Zero is an hour after the clock's beginning.
        let hour = 3_600_000;
        self.zero - Duration::from_millis(hour) + Duration::from_millis(u64::try_from(at + 3_600_000).expect("small"))
    }

    pub(super) fn check_setting(&self, h: usize) {
        let (node, deadline) = &self.deadlines[h];
        let setting = self.model.nodes[*node].deadline.as_ref().map(|(at, _)| self.instant(*at));
        assert_eq!(deadline.get(), setting, "setting of the deadline of context {node}");
    }

    /// Checks an error that the implementation has reported for `node`.
    pub(super) fn judge(&mut self, node: usize, error: &Error) {
        let Some(end) = self.model.end(node) else { panic!("context {node} is done too early: {error:#}") };
        let said = (error.kind(), error.cause().map(ToString::to_string));
        assert!(end.outcomes.contains(&said), "context {node} says {said:?}, not one of {:?}", end.outcomes);
        self.model.nodes[node].settled = Some(said);
    }

    pub(super) fn check(&mut self, node: usize) {
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
    pub(super) fn check_wakes(&self, f: usize) {
        let waiting = &self.futures[f];
        let due = waiting.pending && self.model.end(waiting.node).is_some();
        assert_eq!(waiting.wakes.count(), usize::from(due), "wakes of a future on context {}", waiting.node);
    }

    pub(super) fn check_all(&mut self) {
        for node in 0..self.contexts.len() {
            if self.contexts[node].is_some() {
                self.check(node);
            }
        }
        for f in 0..self.futures.len() {
            self.check_wakes(f);
        }
    }

    pub(super) fn finish(mut self) {
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
