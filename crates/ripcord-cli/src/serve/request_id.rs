//! Request IDs in the form of the Go tutorial.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use axum::http::HeaderValue;
use ripcord_http::RequestId;

/// Returns a new ID: `req-` and the Unix time in nanoseconds, or the next free number. IDs are unique within a process.
pub(super) fn make_id() -> RequestId {
    static LAST: AtomicU64 = AtomicU64::new(0);

    let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
    let next = |last: u64| now.max(last + 1);
    // Relaxed: no other memory depends on the number.
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    let id = HeaderValue::try_from(format!("req-{}", last.map_or(now, next)));
    RequestId::decode(&id.expect("letters, digits and a dash")).expect("letters, digits and a dash")
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn ids_made_by_several_threads_are_unique() {
        let ids: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..10_000).map(|_| make_id()).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect()
        });
        let distinct: HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids.iter().all(|id| id.as_str().starts_with("req-")));
    }
}
