//! The task that runs a load and stores its result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Key;
use super::flight::{Flight, Loader, Outcome};
use super::shared::Shared;
use super::stats::Count;
use super::waits::Load;
use crate::SharedError;
use crate::panics::{CatchPanic, panicked};
use crate::stats::Call;

/// How long a stale value is not reloaded in the background after a failed load whose error is not remembered.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// A load that runs. It sets the flight's outcome on every path, also when its runtime drops the task.
pub(super) struct Running<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    // Weak: a load does not keep open a cache that has no handles any more.
    shared: Weak<Shared<K, V>>,
    flight: Arc<Flight<V>>,
    load: Arc<Load<K>>,
    /// A loader was started and has not been counted as ended.
    is_counted: bool,
}

impl<K, V> Running<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn new(shared: &Arc<Shared<K, V>>, flight: Arc<Flight<V>>, load: Arc<Load<K>>) -> Self {
        Self { shared: Arc::downgrade(shared), flight, load, is_counted: false }
    }

    /// Runs `loader`. If it runs out of its time while a waiter has more, runs that waiter's loader next.
    pub(super) async fn run(mut self, mut loader: Loader<V>) {
        let outcome = loop {
            self.count_start();
            let outcome = self.run_once(loader).await;
            let is_out_of_time = !self.flight.is_canceled()
                && match &outcome {
                    Outcome::Ended(_) => true,
                    Outcome::Failed(error) => error.is_out_of_time(),
                    Outcome::Loaded(_) | Outcome::Panicked(_) => false,
                };
            match is_out_of_time.then(|| self.flight.next_loader()).flatten() {
                Some(next) => loader = next,
                None => break outcome,
            }
            self.count_end(&outcome);
        };
        match &outcome {
            // Stored already.
            Outcome::Loaded(_) => {}
            Outcome::Failed(error) => self.note_failure(Some(error)),
            Outcome::Panicked(_) => self.note_failure(None),
            Outcome::Ended(_) => self.forget(),
        }
        self.finish(outcome);
    }

    async fn run_once(&self, loader: Loader<V>) -> Outcome<V> {
        // An earlier loader may have set one.
        self.load.set_ttl(None);
        let ctx = self.flight.loader_ctx();
        let load_ctx = ctx.clone();
        // The loader is called inside the future, where its panic is caught too.
        let work = CatchPanic::new(Box::pin(async move { loader(load_ctx).await }));
        match ctx.run(ctx.scope(work)).await {
            // The weigher, the key's `Eq` and the value's `Clone` are user code: their panic is the load's.
            Ok(Ok(Ok(value))) => match catch_unwind(AssertUnwindSafe(|| self.store(&value))) {
                Ok(()) => Outcome::Loaded(value),
                Err(payload) => Outcome::Panicked(panicked(payload)),
            },
            // An error of a loader whose context has ended is that end.
            Ok(Ok(Err(error))) => match ctx.err() {
                Some(end) => Outcome::Ended(end),
                None => Outcome::Failed(error),
            },
            Ok(Err(payload)) => Outcome::Panicked(panicked(payload)),
            Err(end) => Outcome::Ended(end),
        }
    }

    /// Stores the value, unless the key was removed, inserted or cleared since the load began.
    fn store(&self, value: &V) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let ttl = self.load.ttl().or_else(|| shared.default_ttl());
        let entry = shared.entry(&self.load.key, value.clone(), ttl);
        let id = entry.id;
        let stored = shared.flights.land(&self.load.key, &self.flight, |key| shared.store.insert(key, entry));
        if let Some(evicted) = stored {
            shared.count(Count::Inserted);
            shared.release_evicted(evicted, shared.flights.hash(&self.load.key), id);
            shared.clear_if_closed();
        }
    }

    /// Notes that the load failed, or that it panicked if there is no error. A value that can still be served stays, and its
    /// next background load is put off. Otherwise the error is stored, if it is to be remembered and says something about the
    /// key.
    fn note_failure(&self, error: Option<&SharedError>) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let now = shared.clock.now();
        let remembered = error.filter(|error| !error.is_neutral()).zip(shared.settings.negative_ttl);
        let pause = remembered.map_or(RELOAD_PAUSE, |(_, ttl)| ttl);
        let failure = remembered.map(|(error, ttl)| shared.failure(error.clone(), now.checked_add(ttl)));
        let id = failure.as_ref().map(|failure| failure.id);
        let stored = shared.flights.land(&self.load.key, &self.flight, |key| {
            let is_served = shared.store.has(&key, |entry| {
                entry.pause_reload(now.checked_add(pause));
                entry.is_servable(&shared.clock)
            });
            match failure {
                Some(failure) if !is_served => Ok(shared.store.insert(key, failure)),
                // Dropped after the lock.
                unwanted => Err((key, unwanted)),
            }
        });
        if let (Some(Ok(evicted)), Some(id)) = (stored, id) {
            shared.release_evicted(evicted, shared.flights.hash(&self.load.key), id);
        }
    }

    /// Takes the flight out of the table without storing anything.
    fn forget(&self) {
        if let Some(shared) = self.shared.upgrade() {
            drop(shared.flights.land(&self.load.key, &self.flight, |key| key));
        }
    }

    fn finish(&mut self, outcome: Outcome<V>) {
        self.count_end(&outcome);
        self.flight.finish(outcome);
    }

    fn count_start(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.count_call(Call::Started);
            self.is_counted = true;
        }
    }

    fn count_end(&mut self, outcome: &Outcome<V>) {
        let Some(shared) = self.shared.upgrade().filter(|_| std::mem::take(&mut self.is_counted)) else {
            return;
        };
        shared.count_call(match outcome {
            Outcome::Loaded(_) => Call::Succeeded,
            Outcome::Failed(_) | Outcome::Panicked(_) => Call::Failed,
            Outcome::Ended(_) => Call::Canceled,
        });
        if matches!(outcome, Outcome::Panicked(_)) {
            shared.count(Count::Panicked);
        }
    }
}

impl<K, V> Drop for Running<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    fn drop(&mut self) {
        if !self.flight.is_finished() {
            self.forget();
            let end = self.flight.abandon();
            self.finish(Outcome::Ended(end));
        }
    }
}
