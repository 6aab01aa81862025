//! The state of a deadline that can be moved. One word decides between a move and the expiry (`tree`, invariants 13 to 15).

use super::node::NEVER;
use crate::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use crate::raw::clock::Clock;

/// A deadline that its handles move: a movable deadline or an idle timeout.
pub(crate) struct Movable {
    /// The deadline or `NEVER`, neither of which is negative. Once the deadline is sealed, its bitwise complement, which never
    /// changes again.
    word: AtomicI64,
    /// The time at which the node's timer fires, which may be earlier than the deadline. `NEVER` if there is a waiter but no
    /// deadline. `UNARMED` while there is no waiter. Guarded by the lock of the queue (invariant 15).
    armed: AtomicI64,
    /// The clock of the deadline. `None` for the system's clock.
    clock: Option<Clock>,
    /// The time of the creation.
    created: i64,
    /// For an idle timeout, its length in nanoseconds.
    idle: Option<i64>,
    /// The number of moves, for error messages.
    moves: AtomicU64,
    /// The time of the last move, for error messages.
    moved_at: AtomicI64,
    /// `moves` at the end. Written before `DONE`, so that all errors of the end agree.
    moves_before_end: AtomicU64,
    /// `moved_at` at the end. Written before `DONE`.
    moved_before_end: AtomicI64,
    /// The number of handles of a movable deadline. The handles of an idle timeout are not counted.
    handles: AtomicU32,
}

/// The value of `armed` while there is no waiter.
const UNARMED: i64 = i64::MIN;

/// The result of a move.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moved {
    /// The deadline has passed, or another end has sealed it. Nothing has changed.
    Refused,
    /// The deadline is the same or later. No timer has to be changed.
    Later,
    /// The deadline is earlier. The caller has to change the timer.
    Earlier,
}

/// The moves of a deadline, for error messages.
#[derive(Clone, Copy)]
pub(crate) struct Moves {
    pub(crate) is_idle: bool,
    /// In nanoseconds: the idle timeout, or else the time from the creation to the deadline.
    pub(crate) timeout: i64,
    pub(crate) count: u64,
    /// Nanoseconds from the last move to the end, or to the present.
    pub(crate) since_last: i64,
}

impl Movable {
    /// Creates a movable deadline without a handle.
    pub(crate) fn deadline(when: i64, now: i64, clock: Option<Clock>) -> Self {
        Self::new(when, now, clock, None)
    }

    /// Creates an idle timeout of `timeout` nanoseconds, or `NEVER`.
    pub(crate) fn idle_timeout(timeout: i64, now: i64, clock: Option<Clock>) -> Self {
        Self::new(now.saturating_add(timeout), now, clock, Some(timeout))
    }

    fn new(when: i64, now: i64, clock: Option<Clock>, idle: Option<i64>) -> Self {
        Movable {
            // Ticks before zero are in the past, and so is zero.
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

    /// Returns the length of an idle timeout in nanoseconds, or `NEVER`. `None` for a movable deadline.
    pub(crate) fn idle(&self) -> Option<i64> {
        self.idle
    }

    /// Returns the deadline or `NEVER`, sealed or not.
    pub(crate) fn when(&self) -> i64 {
        let word = self.word.load(Ordering::Acquire);
        word.max(!word)
    }

    // ===== the decision (invariant 13) =====

    /// Returns whether the deadline has passed at `now`, or was sealed before. In both cases the deadline is sealed when this
    /// returns, so that no later move takes effect.
    pub(in crate::raw) fn expire(&self, now: i64) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            if word < 0 {
                // The deadline has passed, or its node has inherited an end.
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

    /// Seals the deadline, whether or not it has passed, because its node inherits an end. Returns the deadline.
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

    /// Moves the deadline to `when`, or to `now` if that is later. Refuses if the deadline has passed at `now` or is sealed. With
    /// `only_later`, a deadline that is later than `when` stays.
    pub(in crate::raw) fn move_to(&self, when: i64, now: i64, only_later: bool) -> Moved {
        let when = when.max(now);
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            // The clock decides, even if no thread has observed the expiry.
            if word <= now && self.expire(now) {
                return Moved::Refused;
            }
            if only_later && word >= when {
                return Moved::Later;
            }
            // Of two resets of an idle timeout, the later instant wins.
            if self.idle.is_some() && word >= when {
                break;
            }
            match self.word.compare_exchange(word, when, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(changed) => word = changed,
            }
        }
        // For messages only, so no read-modify-write is used: of two simultaneous moves, one may not be counted (row C21).
        self.moves.store(self.moves.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.moved_at.store(now, Ordering::Relaxed);
        if when < word && self.idle.is_none() { Moved::Earlier } else { Moved::Later }
    }

    // ===== the timer (invariant 15): called under the lock of the queue =====

    /// Returns the time at which the timer fires.
    pub(in crate::raw) fn armed(&self) -> i64 {
        self.armed.load(Ordering::Relaxed)
    }

    /// Records that there is a waiter. Returns the time at which the timer has to fire, or `None` if there is no deadline.
    pub(in crate::raw) fn arm(&self) -> Option<i64> {
        let when = self.when();
        self.armed.store(when, Ordering::Relaxed);
        (when != NEVER).then_some(when)
    }

    /// Returns whether there is a waiter, and the deadline is earlier than its timer.
    pub(in crate::raw) fn is_before_timer(&self) -> bool {
        self.when() < self.armed()
    }

    // ===== for error messages =====

    /// Records the moves at the end. Called under the node's lock, before the end becomes visible.
    pub(in crate::raw) fn record_end(&self) {
        self.moves_before_end.store(self.moves.load(Ordering::Relaxed), Ordering::Relaxed);
        self.moved_before_end.store(self.moved_at.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Returns the moves up to the end that this deadline caused.
    pub(crate) fn moves_before_end(&self) -> Moves {
        let moved_at = self.moved_before_end.load(Ordering::Relaxed);
        self.moves(self.moves_before_end.load(Ordering::Relaxed), self.when().saturating_sub(moved_at))
    }

    /// Returns the moves up to `now`.
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

    /// Returns whether this deadline can still end its node: a deadline is set, or a handle can set one. Progress sets no
    /// deadline if none was set.
    pub(in crate::raw) fn can_end(&self) -> bool {
        self.when() != NEVER || self.idle.is_none() && self.handles.load(Ordering::Relaxed) > 0
    }
}
