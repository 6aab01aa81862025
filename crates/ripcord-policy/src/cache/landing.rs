//! What runs a load, and sees to what it brings.

use std::future::poll_fn;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use ripcord::Context;

use super::entry::{Content, Entry, Found};
use super::flight::{Flight, Need, Outcome};
use super::hashed::Hashed;
use super::shared::Shared;
use super::stats::Count;
use crate::SharedError;
use crate::panics::{BoxFuture, CatchPanic, panicked, shielded};
use crate::stats::Call;
use crate::timeline::{NEVER, after};

/// How long a stale value is not loaded anew in the background after a load whose failure is not remembered.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// Brings a flight down on every path: its result, its panic, its cancellation, and a runtime that drops its task.
pub(super) struct Landing<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    // Weak: a load keeps no cache open that everybody else has dropped.
    shared: Weak<Shared<K, V>>,
    flight: Arc<Flight<V>>,
    key: Hashed<K>,
    begun: bool,
}

impl<K, V> Landing<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(shared: &Arc<Shared<K, V>>, flight: &Arc<Flight<V>>, key: Hashed<K>) -> Self {
        Self { shared: Arc::downgrade(shared), flight: Arc::clone(flight), key, begun: false }
    }

    /// Loads, unless what is there already will do for everybody on board.
    pub(super) async fn fly(mut self, load: impl FnOnce(Context) -> BoxFuture<Result<V, SharedError>> + Send) {
        if self.found_meanwhile() {
            return;
        }
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        shared.tally.count(Call::Started);
        drop(shared);
        self.begun = true;

        let outcome = {
            let ctx = self.flight.context();
            let mut work = pin!(ctx.run(CatchPanic::new(load(ctx.clone()))));
            let mut limit = pin!(self.flight.end_at_latest_deadline());
            let mut limited = true;
            poll_fn(|cx| {
                if let Poll::Ready(ended) = work.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                // When the limit is reached it cancels the work's context, which wakes us.
                if limited && limit.as_mut().poll(cx).is_ready() {
                    limited = false;
                }
                Poll::Pending
            })
            .await
        };
        let outcome = match outcome {
            Ok(Ok(Ok(value))) => self.loaded(value),
            Ok(Ok(Err(error))) => {
                // What a load returns once it was called off is no failure. It may have noticed first that its time is over.
                self.flight.end_if_too_late();
                match self.flight.context().err() {
                    Some(end) => Outcome::Ended(end),
                    None => Outcome::Failed(error),
                }
            }
            Ok(Err(payload)) => Outcome::Panicked(panicked(payload)),
            Err(error) => Outcome::Ended(error),
        };
        match &outcome {
            // A user's `Eq` that panics in there keeps nobody from hearing of the load.
            Outcome::Failed(error) => shielded(|| self.note_failure(Some(error))),
            Outcome::Panicked(_) => shielded(|| self.note_failure(None)),
            Outcome::Loaded(_) | Outcome::Ended(_) => {}
        }
        self.land(outcome);
    }

    /// Another load may have landed between this caller's look and its boarding.
    fn found_meanwhile(&mut self) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        // The panic of a value's clone is this load's.
        let (outcome, will_do) = match catch_unwind(AssertUnwindSafe(|| shared.look_up(self.key.sought()))) {
            Ok(Found::Fresh(value)) => (Outcome::Loaded(value), Need::IfAbsent),
            Ok(Found::Failure(error)) => (Outcome::Failed(error), Need::IfAbsent),
            Ok(Found::Stale { value, may_reload: false, .. }) => (Outcome::Loaded(value), Need::IfDue),
            Ok(Found::Stale { .. } | Found::Absent) => return false,
            Err(payload) => (Outcome::Panicked(panicked(payload)), Need::IfAbsent),
        };
        if !self.flight.settle_for_what_is_there(will_do) {
            shielded(|| drop(outcome));
            return false;
        }
        self.land(outcome);
        true
    }

    /// The value, which is stored unless the key was removed, inserted or cleared since. The weigher and the key's `Eq` are user
    /// code: their panic is this load's.
    fn loaded(&self, value: V) -> Outcome<V> {
        match catch_unwind(AssertUnwindSafe(|| self.store(&value))) {
            Ok(()) => Outcome::Loaded(value),
            Err(payload) => Outcome::Panicked(panicked(payload)),
        }
    }

    fn store(&self, value: &V) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let entry = shared.entry(&self.key.key, value.clone(), shared.jittered_ttl());
        let id = entry.id;
        let stored = shared.flights.land(self.key.hash, &self.flight, |key| shared.store.insert(key, entry));
        if let Some(evicted) = stored {
            shared.tally.add(Count::Inserted);
            shared.let_go(evicted, self.key.hash, id);
            shared.empty_if_closed();
        }
    }

    /// After a load that failed, or panicked if there is no error. A value that is there to be served stays, and its next load
    /// waits. Otherwise the error takes its place, if that is wanted and it says something about the key.
    fn note_failure(&self, error: Option<&SharedError>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let now = shared.time.now();
        let remembered = error.filter(|error| !error.is_neutral()).zip(shared.settings.negative_ttl);
        let pause = remembered.map_or(RELOAD_PAUSE, |(_, ttl)| ttl);
        let failure = remembered.map(|(error, ttl)| {
            let (gone_at, id) = (after(now, ttl).min(NEVER - 1), shared.next_id());
            let (content, reload_at) = (Content::Failure(error.clone()), Default::default());
            Entry { content, fresh_until: gone_at, gone_at, id, weight: 1, reload_at, idle: None }
        });
        let id = failure.as_ref().map(|failure| failure.id);
        let put_in = shared.flights.land(self.key.hash, &self.flight, |key| {
            let is_served = shared.store.has(&key, |entry| {
                entry.put_off_reload(after(now, pause));
                entry.is_servable(now)
            });
            match failure {
                Some(failure) if !is_served => Ok(shared.store.insert(key, failure)),
                not_wanted => Err((key, not_wanted)),
            }
        });
        if let (Some(Ok(evicted)), Some(id)) = (put_in, id) {
            shared.let_go(evicted, self.key.hash, id);
        }
    }

    fn land(&mut self, outcome: Outcome<V>) {
        if let Some(shared) = self.shared.upgrade() {
            // Not stored by now means not to be stored.
            shielded(|| drop(shared.flights.land(self.key.hash, &self.flight, |key| key)));
            if std::mem::take(&mut self.begun) {
                let count = match &outcome {
                    Outcome::Loaded(_) => Call::Succeeded,
                    Outcome::Failed(_) | Outcome::Panicked(_) => Call::Failed,
                    Outcome::Ended(_) => Call::Canceled,
                };
                shared.tally.count(count);
                if matches!(outcome, Outcome::Panicked(_)) {
                    shared.tally.add(Count::Panicked);
                }
            }
        }
        self.flight.finish(outcome);
    }
}

impl<K, V> Drop for Landing<K, V>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if !self.flight.is_finished() {
            let outcome = Outcome::Ended(self.flight.call_off());
            self.land(outcome);
        }
    }
}
