//! The writes of one process that Redis has not confirmed yet.
//!
//! A caller does not wait for Redis. A write is put into a table, and a task sends it. After an outage, the task sends it again.
//!
//! The server reports a change to all processes, including the process that made it. So this process must find out whether a report
//! concerns only its own write, or also a write of another process. In the second case, its first level has an outdated value.
//!
//! # Invariants
//!
//! 1. The table has at most one write per key: the last. It is put there under the lock of the first level's shard, at the moment
//!    at which the first level changes. So the first level has the value of the write in the table, or none.
//! 2. The task sends one batch at a time. So a key's writes reach Redis in their order.
//! 3. A write stays in the table until Redis has answered it and the server's report of it was checked. A report that arrives
//!    before the answer is checked after the answer.
//! 4. The check compares the token in Redis with the token of the write. If they are equal, nobody has written the key since, and a
//!    later write will be reported again. If not, the key is removed from the first level.
//! 5. If the connection that brings the reports is lost, the first level is emptied, and no report is awaited any more.
//! 6. The lock of the table is a leaf: no code of the policy and no user code runs under it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::commands::{Operation, Token};

/// The number of keys whose writes are kept while Redis is unavailable or refuses writes. If there are more, all keys are removed
/// from Redis instead.
const MAX_WRITES: usize = 10_000;

/// The number of writes that are sent at the same time.
const BATCH: usize = 128;

#[derive(Default)]
pub(super) struct Writes {
    table: Mutex<Table>,
    /// Notified when there is something to send.
    pub(super) added: Notify,
    /// Notified when a batch was answered.
    pub(super) answered: Notify,
}

#[derive(Default)]
struct Table {
    writes: HashMap<String, Write>,
    /// The number of clears that were asked for, and how many of them are done.
    clears: u64,
    cleared: u64,
}

struct Write {
    token: Token,
    stage: Stage,
    /// How often Redis has refused it.
    refusals: u32,
}

/// The progress of a write.
enum Stage {
    /// The write is sent, or will be sent. `is_reported`: the server has reported a change of the key since the write was added.
    Sending { operation: Operation, is_reported: bool },
    /// Redis has answered. The report has not arrived yet.
    Sent,
    /// The report has arrived and is checked. `again`: another report has arrived during the check.
    Checking { again: bool },
}

/// The next commands to send.
pub(super) enum Next {
    Nothing,
    Clear(u64),
    Batch(Vec<(String, Token, Operation)>),
}

/// The reaction to a report or an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    /// Compare the token in Redis with this one.
    Check(Token),
    /// Remove the key from the first level.
    Invalidate,
}

/// A write that Redis has refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The value of a load. It is given up, and this lease must be released. `action`: the reaction to a report that was held back.
    Load { lease: Token, action: Action },
    /// An inserted value. Its key is removed instead.
    Insert,
    /// A removal, which is sent again, or a write that was replaced.
    Removal,
}

impl Writes {
    /// Adds a write. `is_outage`: Redis is unavailable or refuses writes, so the write may stay here for long. Invariant 1: the
    /// caller holds the lock of the first level's shard.
    pub(super) fn put(&self, name: String, token: Token, operation: Operation, is_outage: bool) {
        let mut table = self.lock();
        if is_outage && table.writes.len() >= MAX_WRITES && !table.writes.contains_key(&name) {
            table.clear();
        }
        let stage = Stage::Sending { operation, is_reported: false };
        table.writes.insert(name, Write { token, stage, refusals: 0 });
        drop(table);
        self.added.notify_one();
    }

    /// Adds the removal of all keys.
    pub(super) fn clear(&self) {
        self.lock().clear();
        self.added.notify_one();
    }

    /// Returns whether a write of `name` is not answered yet.
    pub(super) fn is_pending(&self, name: &str) -> bool {
        let table = self.lock();
        table.cleared < table.clears || table.writes.get(name).is_some_and(Write::is_pending)
    }

    /// Returns whether any write is not answered yet.
    pub(super) fn are_pending(&self) -> bool {
        let table = self.lock();
        table.cleared < table.clears || table.writes.values().any(Write::is_pending)
    }

    /// Returns the next commands. The writes that Redis has refused least often come first, so that they do not wait for the
    /// others.
    pub(super) fn next(&self) -> Next {
        let table = self.lock();
        if table.cleared < table.clears {
            return Next::Clear(table.clears);
        }
        let pending = table.writes.iter().filter_map(|(name, write)| match &write.stage {
            Stage::Sending { operation, .. } => Some((name, write, operation)),
            _ => None,
        });
        let mut chosen: Vec<_> = pending.clone().filter(|(_, write, _)| write.refusals == 0).take(BATCH).collect();
        if chosen.len() < BATCH {
            let mut refused: Vec<_> = pending.filter(|(_, write, _)| write.refusals > 0).collect();
            refused.sort_by_key(|(_, write, _)| write.refusals);
            refused.truncate(BATCH - chosen.len());
            chosen.extend(refused);
        }
        let batch: Vec<_> = chosen
            .into_iter()
            .map(|(name, write, operation)| (name.clone(), Arc::clone(&write.token), operation.clone()))
            .collect();
        if batch.is_empty() { Next::Nothing } else { Next::Batch(batch) }
    }

    /// Records that the clears up to this number are done.
    pub(super) fn cleared(&self, number: u64) {
        self.lock().cleared = number;
    }

    /// Records that Redis has answered a write. `is_done` is false if a lease was lost and nothing was written. `is_heard` says
    /// whether a report will come. (Invariants 3 and 5.)
    pub(super) fn answered(&self, name: &str, token: &Token, is_done: bool, is_heard: bool) -> Action {
        let mut table = self.lock();
        let Some(write) = table.writes.get_mut(name).filter(|write| write.token == *token) else {
            return Action::Nothing;
        };
        let Stage::Sending { operation, is_reported } = &write.stage else { return Action::Nothing };
        // After a removal, the first level has nothing that a report could concern.
        let (is_store, is_reported) = (matches!(operation, Operation::Store { .. }), *is_reported);
        match (is_done && is_store && is_heard, is_reported) {
            (true, false) => {
                write.stage = Stage::Sent;
                Action::Nothing
            }
            (true, true) => {
                write.stage = Stage::Checking { again: false };
                Action::Check(Arc::clone(token))
            }
            (false, _) => {
                table.writes.remove(name);
                if is_done && !is_reported { Action::Nothing } else { Action::Invalidate }
            }
        }
    }

    /// Records that Redis refused a write. A refused insert becomes a removal, so that Redis does not keep an older value. A
    /// refused removal is tried again.
    pub(super) fn refused(&self, name: &str, token: &Token) -> Refused {
        let mut table = self.lock();
        let Some(write) = table.writes.get_mut(name).filter(|write| write.token == *token) else {
            return Refused::Removal;
        };
        write.refusals = write.refusals.saturating_add(1);
        match &mut write.stage {
            Stage::Sending { operation: Operation::Store { lease: Some(lease), .. }, is_reported } => {
                let lease = Arc::clone(lease);
                let action = if *is_reported { Action::Invalidate } else { Action::Nothing };
                table.writes.remove(name);
                Refused::Load { lease, action }
            }
            Stage::Sending { operation: operation @ Operation::Store { .. }, .. } => {
                *operation = Operation::Remove;
                Refused::Insert
            }
            _ => Refused::Removal,
        }
    }

    /// Records the server's report that a key has changed. (Invariants 3 and 4.)
    pub(super) fn reported(&self, name: &str) -> Action {
        let mut table = self.lock();
        let Some(write) = table.writes.get_mut(name) else { return Action::Invalidate };
        match &mut write.stage {
            Stage::Sending { operation: Operation::Remove, .. } => Action::Invalidate,
            Stage::Sending { is_reported, .. } => {
                *is_reported = true;
                Action::Nothing
            }
            Stage::Sent => {
                write.stage = Stage::Checking { again: false };
                Action::Check(Arc::clone(&write.token))
            }
            Stage::Checking { again } => {
                *again = true;
                Action::Nothing
            }
        }
    }

    /// Records the result of a check: the token that Redis has now, or `None` if Redis did not answer. (Invariant 4.)
    pub(super) fn checked(&self, name: &str, token: &Token, current: Option<&str>) -> Action {
        let mut table = self.lock();
        let Some(write) = table.writes.get_mut(name).filter(|write| write.token == *token) else {
            return Action::Nothing;
        };
        let Stage::Checking { again } = &mut write.stage else { return Action::Nothing };
        let is_own = current == Some(&**token);
        if is_own && std::mem::take(again) {
            return Action::Check(Arc::clone(token));
        }
        table.writes.remove(name);
        if is_own { Action::Nothing } else { Action::Invalidate }
    }

    /// Forgets the writes that wait for a report, because none will come. (Invariant 5.)
    pub(super) fn await_no_reports(&self) {
        self.lock().writes.retain(|_, write| write.is_pending());
    }

    /// Forgets a write whose key is loaded without Redis: the first level may get another value.
    pub(super) fn distrust(&self, name: &str) {
        let mut table = self.lock();
        if let Some(Write { stage: Stage::Sending { operation, .. }, .. }) = table.writes.get_mut(name) {
            // After this operation, every report removes the key from the first level.
            *operation = Operation::Remove;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn clear(&mut self) {
        self.writes.clear();
        self.clears += 1;
    }
}

impl Write {
    fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::Sending { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn store() -> Operation {
        Operation::Store { json: "1".into(), expires_at: None, stale_for: Duration::ZERO, lease: None }
    }

    /// Adds a write, and returns its token.
    fn put(writes: &Writes, number: u32, operation: Operation) -> Token {
        let token: Token = number.to_string().into();
        writes.put("key".to_owned(), Arc::clone(&token), operation, false);
        token
    }

    #[test]
    fn report_of_an_own_write_is_checked_and_changes_nothing() {
        let writes = Writes::default();
        let token = put(&writes, 1, store());
        assert_eq!(writes.answered("key", &token, true, true), Action::Nothing);
        assert_eq!(writes.reported("key"), Action::Check(Arc::clone(&token)));
        assert_eq!(writes.checked("key", &token, Some("1")), Action::Nothing);
        // The next report can only concern another write.
        assert_eq!(writes.reported("key"), Action::Invalidate);
    }

    #[test]
    fn report_before_the_answer_is_checked_after_it() {
        let writes = Writes::default();
        let token = put(&writes, 1, store());
        assert_eq!(writes.reported("key"), Action::Nothing);
        assert!(writes.is_pending("key"));
        assert_eq!(writes.answered("key", &token, true, true), Action::Check(Arc::clone(&token)));
        assert_eq!(writes.checked("key", &token, Some("of another machine")), Action::Invalidate);
    }

    #[test]
    fn report_during_a_check_is_checked_again() {
        let writes = Writes::default();
        let token = put(&writes, 1, store());
        writes.answered("key", &token, true, true);
        writes.reported("key");
        assert_eq!(writes.reported("key"), Action::Nothing);
        assert_eq!(writes.checked("key", &token, Some("1")), Action::Check(Arc::clone(&token)));
        assert_eq!(writes.checked("key", &token, None), Action::Invalidate, "Redis did not answer");
    }

    #[test]
    fn answer_of_a_replaced_write_says_nothing_about_its_successor() {
        let writes = Writes::default();
        let first = put(&writes, 1, store());
        let second = put(&writes, 2, store());
        assert_eq!(writes.answered("key", &first, true, true), Action::Nothing);
        assert!(writes.is_pending("key"));
        // The report of the first write is checked against the second, once Redis has answered it.
        assert_eq!(writes.reported("key"), Action::Nothing);
        assert_eq!(writes.answered("key", &second, true, true), Action::Check(second));
    }

    #[test]
    fn lost_lease_invalidates_the_key() {
        let writes = Writes::default();
        let token = put(&writes, 1, store());
        assert_eq!(writes.answered("key", &token, false, true), Action::Invalidate);
        assert!(!writes.are_pending());
    }

    #[test]
    fn refused_insert_becomes_a_removal_and_a_refused_removal_stays() {
        let writes = Writes::default();
        let token = put(&writes, 1, store());
        assert_eq!(writes.refused("key", &token), Refused::Insert);
        assert!(matches!(writes.next(), Next::Batch(batch) if matches!(batch[0].2, Operation::Remove)));
        assert_eq!(writes.refused("key", &token), Refused::Removal);
        assert!(writes.is_pending("key"));
    }

    #[test]
    fn refused_value_of_a_load_is_given_up_with_its_lease() {
        let writes = Writes::default();
        let lease: Token = "lease".into();
        let operation = Operation::Store {
            json: "1".into(),
            expires_at: None,
            stale_for: Duration::ZERO,
            lease: Some(Arc::clone(&lease)),
        };
        let token = put(&writes, 1, operation);
        assert_eq!(writes.refused("key", &token), Refused::Load { lease, action: Action::Nothing });
        assert!(!writes.are_pending());
    }

    #[test]
    fn key_loaded_without_redis_is_invalidated_by_the_report_of_its_write() {
        let writes = Writes::default();
        let token = put(&writes, 1, store());
        writes.reported("key");
        writes.distrust("key");
        assert_eq!(writes.answered("key", &token, true, true), Action::Invalidate);
    }

    #[test]
    fn too_many_writes_become_one_clear_during_an_outage_only() {
        let writes = Writes::default();
        let put_all =
            |is_outage| (0..=MAX_WRITES).for_each(|n| writes.put(n.to_string(), "1".into(), store(), is_outage));
        put_all(false);
        assert!(matches!(writes.next(), Next::Batch(batch) if batch.len() == BATCH), "they are sent soon");
        writes.put("another".to_owned(), "1".into(), store(), true);
        assert!(matches!(writes.next(), Next::Clear(1)));
        assert!(writes.is_pending("any key"));
        writes.cleared(1);
        assert!(
            matches!(writes.next(), Next::Batch(batch) if batch.len() == 1),
            "the last write comes after the clear"
        );
    }

    #[test]
    fn refused_removals_hold_up_no_other_write() {
        let writes = Writes::default();
        (0..2 * BATCH).for_each(|n| writes.put(n.to_string(), "1".into(), Operation::Remove, false));
        let batch = || match writes.next() {
            Next::Batch(batch) => batch,
            _ => panic!("there are writes"),
        };
        let first = batch();
        for (name, token, _) in &first {
            assert_eq!(writes.refused(name, token), Refused::Removal);
        }
        let second = batch();
        assert!(second.iter().all(|(name, ..)| first.iter().all(|(refused, ..)| refused != name)));
    }

    #[test]
    fn refused_load_is_invalidated_by_the_report_of_another_write() {
        let writes = Writes::default();
        let lease: Token = "lease".into();
        let Operation::Store { json, expires_at, stale_for, .. } = store() else { unreachable!() };
        let operation = Operation::Store { json, expires_at, stale_for, lease: Some(Arc::clone(&lease)) };
        let token = put(&writes, 1, operation);
        assert_eq!(writes.reported("key"), Action::Nothing);
        assert_eq!(writes.refused("key", &token), Refused::Load { lease, action: Action::Invalidate });
    }

    #[test]
    fn lost_connection_ends_the_wait_for_reports_and_keeps_writes() {
        let writes = Writes::default();
        let token = put(&writes, 1, store());
        writes.answered("key", &token, true, true);
        writes.await_no_reports();
        assert_eq!(writes.reported("key"), Action::Invalidate);
        put(&writes, 2, Operation::Remove);
        writes.await_no_reports();
        assert!(writes.is_pending("key"));
    }
}
