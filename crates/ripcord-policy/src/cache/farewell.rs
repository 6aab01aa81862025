//! What is done with whatever leaves a cache: the hook is told, and the key and the value are dropped.
//!
//! All of it is users' code, which may use a cache itself, this one or another, and so let others go.
//!
//! # Invariants
//!
//! 1. A thread says one farewell at a time. One that comes up within another waits until that has returned: however long a row of
//!    inserts by a hook is, of which each lets go what the hook is told of next, nothing recurses.
//! 2. Whoever says one that is not within another says those that have come up before it returns: none is left waiting.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::Eviction;
use super::builder::EvictHook;
use super::entry::{Content, Entry};
use crate::panics::shielded;

type Farewell = Box<dyn FnOnce()>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// This thread is saying none.
    Idle,
    Saying,
    /// And others have come up meanwhile.
    OthersWait,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Idle) };
    /// Looked at only when there is something in it, since that costs more.
    static WAITING: RefCell<Vec<Farewell>> = const { RefCell::new(Vec::new()) };
}

/// Tells the hook of an entry and lets go of it.
pub(super) fn say<K: 'static, V: 'static>(
    hook: Option<&EvictHook<K, V>>,
    key: K,
    entry: Arc<Entry<V>>,
    reason: Eviction,
) {
    match Turn::begin() {
        Some(_turn) => say_now(hook, key, entry, reason),
        None => {
            let hook = hook.cloned();
            wait(Box::new(move || say_now(hook.as_ref(), key, entry, reason)));
        }
    }
}

fn say_now<K, V>(hook: Option<&EvictHook<K, V>>, key: K, entry: Arc<Entry<V>>, reason: Eviction) {
    if let (Some(hook), Content::Value(value)) = (hook, &entry.content) {
        shielded(|| hook(&key, value, reason));
    }
    // One by one: of two that panic the second would end the process.
    shielded(|| drop(key));
    shielded(|| drop(entry));
}

/// Says one when the one that is being said has returned. (Invariant 1.)
fn wait(farewell: Farewell) {
    STATE.set(State::OthersWait);
    let mut farewell = Some(farewell);
    let _ = WAITING.try_with(|waiting| waiting.borrow_mut().extend(farewell.take()));
    // Left over where the thread is past its thread-locals, and has nowhere to keep it.
    if let Some(farewell) = farewell {
        shielded(farewell);
    }
}

/// This thread's turn to say one.
struct Turn(());

impl Turn {
    /// None within another.
    #[inline]
    fn begin() -> Option<Self> {
        match STATE.get() {
            State::Idle => {
                STATE.set(State::Saying);
                Some(Self(()))
            }
            State::Saying | State::OthersWait => None,
        }
    }
}

impl Drop for Turn {
    #[inline]
    fn drop(&mut self) {
        // Invariant 2.
        if STATE.get() == State::OthersWait {
            say_others();
        }
        STATE.set(State::Idle);
    }
}

#[cold]
fn say_others() {
    while STATE.replace(State::Saying) == State::OthersWait {
        // Taken out first: they may add to it. They go in order, those that come up among them after them.
        let waiting = WAITING.try_with(|waiting| std::mem::take(&mut *waiting.borrow_mut()));
        for farewell in waiting.unwrap_or_default() {
            shielded(farewell);
        }
    }
}
