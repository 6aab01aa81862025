//! Cancels by a client that says why.
//!
//! A reset or a closed connection carries no text, so the cause comes in a request of its own: `OPTIONS`, with the traceparent of
//! the request to cancel. `client::CauseLayer` sends it, and keeps the canceled call until it is answered.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use http::{Method, request::Parts};

use super::{ClientCanceled, lifetime::Lifetime, settings::Settings};
use crate::{RemoteCause, trace_context::Traceparent};

/// The requests in flight that their clients can cancel, by the traceparent they came with.
#[derive(Default)]
pub(super) struct Cancelable(Mutex<HashMap<Traceparent, Weak<Lifetime>>>);

/// Lists a request until this is dropped.
pub(super) struct Listed {
    list: Arc<Cancelable>,
    key: Traceparent,
    lifetime: Weak<Lifetime>,
}

impl Cancelable {
    fn lock(&self) -> MutexGuard<'_, HashMap<Traceparent, Weak<Lifetime>>> {
        // Nothing that panics runs under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut list = self.list.lock();
        // A client may have sent another request with the same traceparent, and the last one counts.
        if list.get(&self.key).is_some_and(|listed| listed.ptr_eq(&self.lifetime)) {
            list.remove(&self.key);
        }
    }
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listed").field(&self.key).finish()
    }
}

impl Settings {
    /// Lists a request that came with the traceparent of a trusted client.
    pub(super) fn list(&self, traceparent: Option<Traceparent>, lifetime: &Arc<Lifetime>) -> Option<Listed> {
        let list = Arc::clone(self.cancelable.as_ref()?);
        let (key, lifetime) = (traceparent?, Arc::downgrade(lifetime));
        list.lock().insert(key, Weak::clone(&lifetime));
        Some(Listed { list, key, lifetime })
    }

    /// If this request is a cancel, cancels the request that it names. Returns whether that was in flight.
    pub(super) fn cancel_named_request(&self, parts: &Parts) -> Option<bool> {
        let list = self.cancelable.as_ref().filter(|_| self.trust.0.is_trusted() && parts.method == Method::OPTIONS)?;
        let traceparent = Traceparent::decode(parts.headers.get(RemoteCause::CANCEL_HEADER)?.as_bytes());
        let Ok(key) = traceparent else { return Some(false) };
        let lifetime = list.lock().get(&key).and_then(Weak::upgrade);
        let Some((lifetime, cause)) = lifetime.zip(RemoteCause::find(&parts.headers)) else { return Some(false) };
        lifetime.client_gone(ClientCanceled(cause));
        Some(true)
    }
}
