//! Cancels with a cause from the client.
//!
//! A reset or a closed connection carries no text, so the client sends the cause in a separate request: `OPTIONS`, with the
//! traceparent of the request to cancel. `client::CauseLayer` sends this request, and keeps the canceled call until the request
//! is answered.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use http::{Method, request::Parts};

use super::{ClientCanceled, lifetime::Lifetime};
use crate::{RemoteCause, trace_context::Traceparent};

/// The requests in flight that their clients can cancel, by their traceparents.
#[derive(Default)]
pub(super) struct Cancelable(Mutex<HashMap<Traceparent, Weak<Lifetime>>>);

/// A listed request. Dropping this value removes the request from the list.
pub(super) struct Listed {
    list: Arc<Cancelable>,
    key: Traceparent,
    lifetime: Weak<Lifetime>,
}

impl Cancelable {
    /// Lists a request with a trusted client's traceparent.
    pub(super) fn list(self: &Arc<Self>, traceparent: Traceparent, lifetime: &Arc<Lifetime>) -> Listed {
        let lifetime = Arc::downgrade(lifetime);
        self.lock().insert(traceparent, Weak::clone(&lifetime));
        Listed { list: Arc::clone(self), key: traceparent, lifetime }
    }

    /// If this request of a trusted client is a cancel, cancels the request that it names. Returns whether the named request was in
    /// flight, or `None` if this request is not a cancel.
    pub(super) fn cancel_named_by(&self, parts: &Parts) -> Option<bool> {
        let traceparent = parts.headers.get(RemoteCause::CANCEL_HEADER).filter(|_| parts.method == Method::OPTIONS)?;
        let Ok(key) = Traceparent::decode(traceparent.as_bytes()) else { return Some(false) };
        let lifetime = self.lock().get(&key).and_then(Weak::upgrade);
        let Some((lifetime, cause)) = lifetime.zip(RemoteCause::find(&parts.headers)) else { return Some(false) };
        lifetime.client_gone(ClientCanceled(cause));
        Some(true)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Traceparent, Weak<Lifetime>>> {
        // No code that panics runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut list = self.list.lock();
        // The client may have sent another request with the same traceparent. The last request is listed.
        if list.get(&self.key).is_some_and(|listed| listed.ptr_eq(&self.lifetime)) {
            list.remove(&self.key);
        }
    }
}

impl fmt::Debug for Cancelable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancelable").finish_non_exhaustive()
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listed").field(&self.key).finish()
    }
}
