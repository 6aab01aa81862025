//! Counting what was no request.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::explained::STATUSES;

/// What was refused before any service saw it, since it does not parse or is too large, by the status that it was refused with. A
/// clone is the same count.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<[AtomicU64; STATUSES.len()]>);

impl Refusals {
    /// One more, with the status at this place of [`STATUSES`].
    pub(super) fn count(&self, at: usize) {
        // Relaxed: each number is all there is to agree on.
        self.0[at].fetch_add(1, Ordering::Relaxed);
    }

    /// The statuses, as `400`, and how often each was answered.
    pub fn by_status(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let code = |status: &'static str| status.split_once(' ').map_or(status, |(code, _)| code);
        STATUSES.iter().zip(&*self.0).map(move |((status, _), count)| (code(status), count.load(Ordering::Relaxed)))
    }
}
