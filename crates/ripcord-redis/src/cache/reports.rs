//! The server's reports of changed keys, and the reactions of the cache.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ripcord_policy::cache::Key;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::commands::{self, Token};
use super::names::Changed;
use super::state::State;
use super::writes::Action;
use crate::client::Subscriber;

/// The kind of an [`Event`].
const CLEARED: &str = "cache-clear";

/// A message on the client's channel: `cache` was cleared by the process with the id `from`.
#[derive(Serialize, Deserialize)]
struct Event {
    kind: String,
    cache: String,
    from: String,
}

impl<K: Key + DeserializeOwned> State<K> {
    /// Returns the message that this cache was cleared.
    pub(super) fn cleared_event(&self) -> String {
        let event = Event { kind: CLEARED.to_owned(), cache: self.name.clone(), from: self.id.to_string() };
        serde_json::to_string(&event).unwrap_or_else(|_| unreachable!("texts are JSON"))
    }

    /// Carries out a decision of the table of writes.
    pub(super) fn act(self: &Arc<Self>, name: &str, action: Action) {
        match action {
            Action::Nothing => {}
            Action::Invalidate => self.invalidate(name),
            Action::Check(token) => {
                let (state, name) = (Arc::clone(self), name.to_owned());
                self.shared().runtime().spawn(async move { state.check(&name, token).await });
            }
        }
    }

    /// Checks a report. (Invariant 4 of the [writes](super::writes).)
    async fn check(self: Arc<Self>, name: &str, token: Token) {
        loop {
            let current = commands::current_token(self.shared(), name).await.ok();
            match self.writes.checked(name, &token, current.as_deref()) {
                Action::Nothing => return,
                Action::Invalidate => return self.invalidate(name),
                Action::Check(_) => {}
            }
        }
    }

    fn invalidate(&self, name: &str) {
        let Some(first) = self.first.get() else { return };
        match self.names.key(name) {
            Some(key) => first.invalidate(&key),
            // A cache with another type of keys has written the key. It is unknown which key of this process it equals.
            None => first.invalidate_all(),
        }
    }

    /// Empties the first level, because changes may have been missed. (Invariant 5 of the [writes](super::writes).)
    fn start_over(&self) {
        self.writes.await_no_reports();
        if let Some(first) = self.first.get() {
            first.invalidate_all();
        }
        self.waiters.wake_all();
    }
}

impl<K: Key + DeserializeOwned> Subscriber for State<K> {
    fn connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.start_over();
        Box::pin(async {})
    }

    fn disconnected(&self) {
        self.start_over();
    }

    fn message(&self, message: &[u8]) {
        let event = serde_json::from_slice::<Event>(message).ok();
        if event.is_some_and(|event| event.kind == CLEARED && event.cache == self.name && *event.from != *self.id) {
            self.start_over();
        }
    }

    fn invalidated(&self, names: Option<&[String]>) {
        let Some(names) = names else { return self.start_over() };
        for name in names {
            let (value, is_value) = match self.names.changed(name) {
                Some(Changed::Value(value)) => (value, true),
                Some(Changed::Lease(value)) => (value, false),
                None => continue,
            };
            if is_value && let Some(state) = self.this.upgrade() {
                state.act(value, self.writes.reported(value));
            }
            self.waiters.wake(value);
        }
    }
}
