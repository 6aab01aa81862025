//! The state of a deadline that can be moved: one word on which a move and the expiry decide (`tree`, invariants 13 to 15).

use super::node::NEVER;
use crate::clock::Clock;
use crate::sync::{AtomicI64, AtomicU32, AtomicU64, Ordering};

/// A deadline that its handles move: a movable deadline or an idle timeout.
pub(crate) struct Movable {
    /// When it is due, or `NEVER`; not negative. Once it is sealed, the bitwise complement of that: it never changes again.
    word: AtomicI64,
    /// For when the node's timer is in the queue, which may be earlier than the deadline; `NEVER` if a timer is wanted but there
    /// is no deadline; `UNARMED` while nothing waits. Guarded by the lock of the queue (invariant 15).
    armed: AtomicI64,
    /// The clock it counts on, unless that is the system's: here too, so that none is searched for.
    clock: Option<Clock>,
    /// When it was created.
    created: i64,
    /// For an idle timeout, the time from each progress to the deadline.
    idle: Option<i64>,
    /// The number of moves, and the time of the last one: for people.
    moves: AtomicU64,
    moved_at: AtomicI64,
    /// The same two as of the end, written before `DONE`: so every error of that end tells the same.
    moves_before_end: AtomicU64,
    moved_before_end: AtomicI64,
    /// The handles that can move it. An idle timeout needs none: `progress` moves it.
    handles: AtomicU32,
}

/// Nothing has asked for a timer.
const UNARMED: i64 = i64::MIN;

/// What a move did.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// The deadline has passed, or another end has sealed it: nothing has changed.
    Refused,
    /// It is at the same time as before or later: no timer has to be touched.
    Later,
    Earlier,
}

/// What is told about a movable deadline.
#[derive(Clone, Copy)]
pub(crate) struct Moves {
    pub(crate) is_idle: bool,
    /// In nanoseconds: that of an idle timeout; else from the creation to the deadline.
    pub(crate) timeout: i64,
    pub(crate) count: u64,
    /// Nanoseconds from the last move to the end, or until now.
    pub(crate) since_last: i64,
}

impl Movable {
    /// A movable deadline that has no handle yet.
    pub(crate) fn deadline(when: i64, now: i64, clock: Option<Clock>) -> Self {
        Self::new(when, now, clock, None)
    }

    /// A timeout that `timeout` nanoseconds without a move exceed; `NEVER` for none.
    pub(crate) fn idle_timeout(timeout: i64, now: i64, clock: Option<Clock>) -> Self {
        Self::new(now.saturating_add(timeout), now, clock, Some(timeout))
    }

    fn new(when: i64, now: i64, clock: Option<Clock>, idle: Option<i64>) -> Self {
        Movable {
            // Times before the process began to count are all as long past.
            word: AtomicI64::new(when.max(0)),
            armed: AtomicI64::new(UNARMED),
            clock,
            created: now,
            idle,
            moves: AtomicU64::new(0),
            moved_at: AtomicI64::new(now),
            moves_before_end: AtomicU64::new(0),
            moved_before_end: AtomicI64::new(now),
            handles: AtomicU32::new(0),
        }
    }

    pub(crate) fn clock(&self) -> Option<&Clock> {
        self.clock.as_ref()
    }

    /// For an idle timeout its length in nanoseconds, or `NEVER`.
    pub(crate) fn idle(&self) -> Option<i64> {
        self.idle
    }

    /// When it is due, sealed or not.
    pub(crate) fn when(&self) -> i64 {
        let word = self.word.load(Ordering::Acquire);
        word.max(!word)
    }

    // ===== the decision (invariant 13) =====

    /// Whether it has ended its node by `now`. If so it is sealed when this returns, so that no move takes that back.
    pub(in crate::raw) fn expire(&self, now: i64) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word < 0 {
                // It has passed, or its node has ended with one above.
                return true;
            }
            if word > now {
                return false;
            }
            match self.word.compare_exchange(word, !word, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(moved) => word = moved,
            }
        }
    }

    /// Seals it whether or not it has passed, because its node takes an end over. Returns when it was due.
    pub(in crate::raw) fn seal(&self) -> i64 {
        let mut word = self.word.load(Ordering::Acquire);
        while word >= 0 {
            match self.word.compare_exchange(word, !word, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return word,
                Err(changed) => word = changed,
            }
        }
        !word
    }

    /// Moves it to `when`, unless it has passed at `now` or is sealed. A time before `now` is recorded as `now`. With `only_later`, a
    /// deadline that is later than `when` stays.
    pub(in crate::raw) fn move_to(&self, when: i64, now: i64, only_later: bool) -> Moved {
        let when = when.max(now);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            // The clock decides, also if nobody has observed it.
            if word <= now && self.expire(now) {
                return Moved::Refused;
            }
            if only_later && word >= when {
                return Moved::Later;
            }
            // Of two resets of an idle timeout the later instant wins.
            if self.idle.is_some() && word >= when {
                break;
            }
            match self.word.compare_exchange(word, when, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(changed) => word = changed,
            }
        }
        // For people, so without a second read-modify-write: two moves at one time may count as one (row C21).
        self.moves.store(self.moves.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.moved_at.store(now, Ordering::Relaxed);
        if when < word && self.idle.is_none() { Moved::Earlier } else { Moved::Later }
    }

    // ===== the timer (invariant 15): called under the lock of the queue =====

    /// What the timer is in the queue for.
    pub(in crate::raw) fn armed(&self) -> i64 {
        self.armed.load(Ordering::Relaxed)
    }

    /// Asks for a timer. Returns when it is due; `None` if there is no deadline now.
    pub(in crate::raw) fn arm(&self) -> Option<i64> {
        let when = self.when();
        self.armed.store(when, Ordering::Relaxed);
        (when != NEVER).then_some(when)
    }

    /// Whether a timer is wanted, and earlier than the one that is in the queue.
    pub(in crate::raw) fn is_before_timer(&self) -> bool {
        self.when() < self.armed()
    }

    // ===== what is told =====

    /// Records what the errors of its own end tell. Called under the node's lock, before the end becomes visible.
    pub(in crate::raw) fn record_end(&self) {
        self.moves_before_end.store(self.moves.load(Ordering::Relaxed), Ordering::Relaxed);
        self.moved_before_end.store(self.moved_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// What an error of its own end tells.
    pub(crate) fn moves_before_end(&self) -> Moves {
        let moved_at = self.moved_before_end.load(Ordering::Relaxed);
        self.moves(self.moves_before_end.load(Ordering::Relaxed), self.when().saturating_sub(moved_at))
    }

    /// What is told while it has not ended its node.
    pub(crate) fn moves_until(&self, now: i64) -> Moves {
        let moved_at = self.moved_at.load(Ordering::Relaxed);
        self.moves(self.moves.load(Ordering::Relaxed), now.saturating_sub(moved_at))
    }

    fn moves(&self, count: u64, since_last: i64) -> Moves {
        let timeout = self.idle.unwrap_or_else(|| self.when().saturating_sub(self.created));
        Moves { is_idle: self.idle.is_some(), timeout, count, since_last }
    }

    // ===== the handles (invariant 11) =====

    pub(in crate::raw) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::raw) fn drop_handle(&self) {
        self.handles.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it can still end its node: there is a deadline, or a handle that can set one. Progress never sets a deadline
    /// where there was none.
    pub(in crate::raw) fn can_end(&self) -> bool {
        self.when() != NEVER || self.idle.is_none() && self.handles.load(Ordering::Relaxed) > 0
    }
}
