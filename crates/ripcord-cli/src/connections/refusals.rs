//! Counts of malformed requests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::explained::STATUSES;

/// Counts of requests that were refused because they did not parse or were too large, by status.
/// Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<[AtomicU64; STATUSES.len()]>);

impl Refusals {
    /// Counts a refusal with the status at this index of [`STATUSES`].
    pub(super) fn count(&self, at: usize) {
        // Relaxed: the counts are independent.
        self.0[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns each status, such as `400`, with its count.
    pub fn by_status(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let code = |status: &'static str| status.split_once(' ').map_or(status, |(code, _)| code);
        STATUSES.iter().zip(&*self.0).map(move |((status, _), count)| (code(status), count.load(Ordering::Relaxed)))
    }
}
