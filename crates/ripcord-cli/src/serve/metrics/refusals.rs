//! Counts of malformed requests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ripcord_http::Refusal;

/// The statuses of refusals.
const STATUSES: [u16; 3] = [400, 414, 431];

/// Numbers of requests, by status, that were refused because they did not parse or were too large.
/// Clones share the numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<[AtomicU64; STATUSES.len()]>);

impl Refusals {
    pub(crate) fn count(&self, refusal: &Refusal) {
        if let Some(at) = STATUSES.iter().position(|status| refusal.status == *status) {
            // Relaxed: the counts are independent.
            self.0[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns each status with its count.
    pub(crate) fn by_status(&self) -> impl Iterator<Item = (u16, u64)> {
        STATUSES.iter().zip(&*self.0).map(|(status, count)| (*status, count.load(Ordering::Relaxed)))
    }
}
