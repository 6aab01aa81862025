//! The results of a group's tasks.

use super::builder::Join;
use super::error::GroupError;
use crate::background;
use crate::cause::Cause;
use crate::task::TaskPanic;

/// The outcomes of a group's tasks. Each task has a number, in the order of the `go` calls.
pub(super) struct Outcomes<T> {
    join: Join,
    /// The number of accepted tasks, which is the number of the next task.
    accepted: usize,
    /// The values in the order in which the tasks ended. If the type has size 0, the list takes no memory. So a group that runs
    /// for the life of the process does not grow.
    values: Vec<T>,
    /// For each task number, the index of the task's value in `values`. Unused if the type has size 0.
    positions: Vec<Option<usize>>,
    /// In the order in which the tasks ended.
    errors: Vec<(usize, GroupError)>,
    panics: Vec<(usize, TaskPanic)>,
    /// The index in `errors` of the error to report. The flag is false if the group's cancellation caused the error.
    reported: Option<(usize, bool)>,
    /// The number of the first task that succeeded.
    winner: Option<usize>,
}

impl<T> Outcomes<T> {
    const ALL_ALIKE: bool = size_of::<T>() == 0;

    pub(super) fn new(join: Join) -> Self {
        Outcomes {
            join,
            accepted: 0,
            values: Vec::new(),
            positions: Vec::new(),
            errors: Vec::new(),
            panics: Vec::new(),
            reported: None,
            winner: None,
        }
    }

    /// Takes all outcomes out.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Outcomes::new(self.join))
    }

    /// Returns the number of the next task.
    pub(super) fn accept(&mut self) -> usize {
        self.accepted += 1;
        self.accepted - 1
    }

    /// Records a value. Returns whether this is the first success.
    pub(super) fn succeeded(&mut self, number: usize, value: T) -> bool {
        if !Self::ALL_ALIKE {
            if self.positions.len() <= number {
                self.positions.resize(number + 1, None);
            }
            self.positions[number] = Some(self.values.len());
        }
        self.values.push(value);
        let is_first = self.winner.is_none();
        self.winner.get_or_insert(number);
        is_first
    }

    pub(super) fn failed(&mut self, number: usize, cause: Cause, is_real: bool) {
        let is_reported = match (self.reported, self.join) {
            (None, _) => true,
            // The reported error is the last error that the group's cancellation did not cause.
            (Some(_), Join::First) => is_real,
            (Some((_, is_known_real)), _) => !is_known_real && is_real,
        };
        if is_reported {
            self.reported = Some((self.errors.len(), is_real));
        }
        self.errors.push((number, GroupError::new(cause)));
    }

    pub(super) fn panicked(&mut self, number: usize, panic: TaskPanic) {
        self.panics.push((number, panic));
    }

    /// Resumes the first panic, unless a task has won.
    pub(super) fn resume_panic(mut self) -> Self {
        if self.join == Join::First && self.winner.is_some() || self.panics.is_empty() {
            return self;
        }
        let (_, panic) = self.panics.swap_remove(0);
        // The drop of a value may panic. That panic must not occur while this panic unwinds.
        background::shielded(|| drop(self));
        std::panic::resume_unwind(panic.into_payload());
    }

    /// Returns the error to report, if there is one.
    pub(super) fn error(&mut self) -> Option<GroupError> {
        if self.join == Join::First && self.winner.is_some() {
            return None;
        }
        self.reported.map(|(at, _)| self.errors.swap_remove(at).1)
    }

    /// Returns every error, in the order in which the tasks ended.
    pub(super) fn into_errors(self) -> Vec<GroupError> {
        self.errors.into_iter().map(|(_, error)| error).collect()
    }

    /// Returns the values in the order of the task numbers. For [`Join::First`], returns only the winner's value.
    pub(super) fn into_values(self) -> Vec<T> {
        if self.join == Join::First {
            // The winner's value was recorded first.
            return self.values.into_iter().take(1).collect();
        }
        if Self::ALL_ALIKE {
            return self.values;
        }
        let mut values: Vec<Option<T>> = self.values.into_iter().map(Some).collect();
        self.positions.into_iter().flatten().filter_map(|position| values[position].take()).collect()
    }

    /// Returns one result for each task number.
    pub(super) fn into_results(self) -> Vec<Result<T, GroupError>> {
        let mut results: Vec<Option<Result<T, GroupError>>> = Vec::new();
        results.resize_with(self.accepted, || None);
        for (number, error) in self.errors {
            results[number] = Some(Err(error));
        }
        for (number, panic) in self.panics {
            results[number] = Some(Err(GroupError::new(Cause::from(panic))));
        }
        if Self::ALL_ALIKE {
            let mut values = self.values.into_iter();
            return results.into_iter().filter_map(|result| result.or_else(|| values.next().map(Ok))).collect();
        }
        let mut values: Vec<Option<T>> = self.values.into_iter().map(Some).collect();
        for (number, position) in self.positions.into_iter().enumerate() {
            if let Some(value) = position.and_then(|position| values[position].take()) {
                results[number] = Some(Ok(value));
            }
        }
        // Every task has ended, so every entry has a result.
        results.into_iter().flatten().collect()
    }
}
