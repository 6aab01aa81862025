//! The permission to load a key. At most one process has it at a time.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ripcord_policy::cache::{Key, Lease, Write};
use serde::Serialize;
use tokio::task::AbortHandle;

use super::commands::{self, Operation, Token};
use super::state::State;

/// The part of a lease's duration after which it is extended.
const EXTEND_AFTER: u32 = 3;

/// A lease that may have been taken. Dropping it releases the lease.
pub(super) struct MaybeLease<K: Key> {
    state: Arc<State<K>>,
    name: Arc<str>,
    pub(super) token: Token,
    is_armed: bool,
}

/// A lease that was taken. A task extends it while the load runs.
pub(super) struct Held<K: Key, V> {
    lease: MaybeLease<K>,
    extending: AbortHandle,
    value: PhantomData<fn(V)>,
}

impl<K: Key> MaybeLease<K> {
    /// Prepares to take the lease of the value `name`.
    pub(super) fn new(state: &Arc<State<K>>, name: &Arc<str>) -> Self {
        let token = commands::token(&state.random);
        MaybeLease { state: Arc::clone(state), name: Arc::clone(name), token, is_armed: true }
    }

    /// Records that the lease was not taken.
    pub(super) fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl<K: Key, V> Held<K, V> {
    pub(super) fn new(lease: MaybeLease<K>) -> Self {
        let (client, lease_for) = (Arc::downgrade(lease.state.shared()), lease.state.lease_for);
        let (name, token) = (Arc::clone(&lease.name), Arc::clone(&lease.token));
        let extending = lease.state.shared().runtime().spawn(async move {
            loop {
                tokio::time::sleep(lease_for / EXTEND_AFTER).await;
                let Some(shared) = client.upgrade() else { return };
                // The lease may still hold if Redis does not answer.
                if let Ok(false) = commands::extend(&shared, &name, &token, lease_for).await {
                    return;
                }
            }
        });
        Held { lease, extending: extending.abort_handle(), value: PhantomData }
    }
}

impl<K: Key, V: Serialize + 'static> Lease<V> for Held<K, V> {
    fn store(mut self: Box<Self>, value: &V, ttl: Option<Duration>) -> Write {
        let Some(operation) = self.lease.state.storing(value, ttl, Some(Arc::clone(&self.lease.token))) else {
            // Dropping the lease lets another process load.
            return Box::new(move || drop(self));
        };
        Box::new(move || {
            // The write ends the lease.
            self.lease.is_armed = false;
            let MaybeLease { state, name, .. } = &self.lease;
            state.put(name.to_string(), commands::token(&state.random), operation);
        })
    }
}

impl<K: Key> State<K> {
    /// Returns the operation that stores `value`. Returns `None` if it is not JSON.
    pub(super) fn storing<V: Serialize>(
        &self,
        value: &V,
        ttl: Option<Duration>,
        lease: Option<Token>,
    ) -> Option<Operation> {
        let Ok(json) = serde_json::to_string(value) else {
            self.count_failed_write();
            return None;
        };
        let expires_at = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        Some(Operation::Store { json: json.into(), expires_at, stale_for: self.stale_for(), lease })
    }
}

impl<K: Key, V> Drop for Held<K, V> {
    fn drop(&mut self) {
        self.extending.abort();
    }
}

impl<K: Key> Drop for MaybeLease<K> {
    fn drop(&mut self) {
        if !self.is_armed {
            return;
        }
        let client = Arc::downgrade(self.state.shared());
        let (name, token) = (Arc::clone(&self.name), Arc::clone(&self.token));
        self.state.shared().runtime().spawn(async move {
            // Until Redis answers. Otherwise, the first loads after an outage would wait for the lease. Its duration is no limit,
            // because a server that was paused may run the command that takes the lease only when it continues.
            while let Some(shared) = client.upgrade() {
                match commands::release(&shared, &name, &token).await {
                    Err(error) if error.is_unavailable() => {}
                    _ => return,
                }
                let pause = shared.retry_every();
                drop(shared);
                tokio::time::sleep(pause).await;
            }
        });
    }
}
