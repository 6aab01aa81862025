//! The model.

use ripcord::ErrorKind;

use crate::common::{Trace, User};

/// The moment of an event: milliseconds, then the number of the operation. A deadline comes before any operation.
pub(super) type Moment = (i64, usize);

pub(super) type Outcome = (ErrorKind, Option<String>);

#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) parent: Option<usize>,
    pub(super) other: Option<usize>,
    /// Whether the parent's deadline, cancel and cause have no effect on the node.
    pub(super) cut: bool,
    /// The time from the parent's end to the node's end.
    pub(super) grace: Option<i64>,
    pub(super) made: Moment,
    /// The clock of its deadlines.
    pub(super) clock: usize,
    pub(super) canceled: Option<(Moment, Option<String>)>,
    pub(super) deadline: Option<(i64, Option<String>)>,
    pub(super) movable: Option<Movable>,
    /// Whether a deadline that can be moved is at or above the node.
    pub(super) is_movable: bool,
    /// Whether such a deadline or a merge is at or above the node. Then the end of a deadline counts, and not the deadline
    /// itself.
    pub(super) holds_no_deadline: bool,
    pub(super) user: Option<User>,
    pub(super) trace: Option<Trace>,
    pub(super) name: Option<String>,
    /// The end that an observer has seen, if several ends were possible.
    pub(super) settled: Option<Outcome>,
}

/// The state of a deadline that can be moved, besides the deadline itself.
#[derive(Debug)]
pub(super) struct Movable {
    pub(super) cause: Option<String>,
    /// The last move.
    pub(super) moved: Moment,
    /// The length of an idle timeout.
    pub(super) idle: Option<i64>,
}

/// An end, and the errors that an observer may report for it.
pub(super) struct End {
    pub(super) at: Moment,
    /// The time from which a grace counts. The node may have been created after that time.
    pub(super) since: i64,
    pub(super) outcomes: Vec<Outcome>,
}

impl End {
    pub(super) fn is_deadline(&self) -> bool {
        self.outcomes.iter().all(|(kind, _)| *kind == ErrorKind::DeadlineExceeded)
    }
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) nodes: Vec<Node>,
    /// The time of each clock.
    pub(super) now: Vec<i64>,
    pub(super) ops: usize,
}

impl Model {
    pub(super) fn now(&self, id: usize) -> i64 {
        self.now[self.nodes[id].clock]
    }

    pub(super) fn moment(&self, id: usize) -> Moment {
        (self.now(id), self.ops)
    }

    pub(super) fn has_clocks(&self) -> bool {
        self.now.len() > 1
    }

    pub(super) fn add(&mut self, parent: usize, node: Node) {
        let (made, clock) = (self.moment(parent), self.nodes[parent].clock);
        let above: Vec<_> = (!node.cut).then_some(parent).into_iter().chain(node.other).collect();
        let is_movable = node.movable.is_some() || above.iter().any(|above| self.nodes[*above].is_movable);
        let is_below = above.iter().any(|above| self.nodes[*above].holds_no_deadline);
        let holds_no_deadline = is_movable || node.other.is_some() || is_below;
        self.nodes.push(Node { parent: Some(parent), made, clock, is_movable, holds_no_deadline, ..node });
    }

    /// Moves a deadline. Returns whether the move took effect.
    pub(super) fn move_deadline(&mut self, id: usize, to: Option<i64>) -> bool {
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
    pub(super) fn extend_deadline(&mut self, id: usize, to: i64) -> bool {
        match &self.nodes[id].deadline {
            Some((at, _)) if *at < to.max(self.now(id)) => self.move_deadline(id, Some(to)),
            _ => self.end(id).is_none(),
        }
    }

    pub(super) fn reset_idle_timeout(&mut self, id: usize) -> bool {
        let idle = self.nodes[id].movable.as_ref().and_then(|movable| movable.idle).expect("an idle timeout");
        self.move_deadline(id, Some(self.now(id) + idle))
    }

    /// Returns the nearest idle timeouts at or above a node: one on each path up.
    pub(super) fn idle_timeouts(&self, id: usize) -> Vec<usize> {
        let node = &self.nodes[id];
        if node.movable.as_ref().is_some_and(|movable| movable.idle.is_some()) {
            return vec![id];
        }
        if node.cut || node.grace.is_some() {
            return vec![];
        }
        node.parent.into_iter().chain(node.other).flat_map(|above| self.idle_timeouts(above)).collect()
    }

    pub(super) fn end(&self, id: usize) -> Option<End> {
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

    pub(super) fn deadline(&self, id: usize) -> Option<i64> {
        let node = &self.nodes[id];
        let above = if node.cut { None } else { node.parent.and_then(|parent| self.deadline(parent)) };
        let above = above.map(|at| at + node.grace.unwrap_or(0));
        let beside = node.other.and_then(|other| self.deadline(other));
        // An idle timeout is no deadline.
        let is_idle = node.movable.as_ref().is_some_and(|movable| movable.idle.is_some());
        let own = node.deadline.as_ref().filter(|_| !is_idle).map(|(at, _)| *at);
        [own, above, beside].into_iter().flatten().min()
    }

    pub(super) fn find<'a, T>(&'a self, id: usize, own: &impl Fn(&'a Node) -> Option<&'a T>) -> Option<&'a T> {
        let node = &self.nodes[id];
        own(node)
            .or_else(|| node.parent.and_then(|parent| self.find(parent, own)))
            .or_else(|| node.other.and_then(|other| self.find(other, own)))
    }

    pub(super) fn name(&self, id: usize) -> Option<&str> {
        let node = &self.nodes[id];
        node.name.as_deref().or_else(|| self.name(node.parent?))
    }
}
