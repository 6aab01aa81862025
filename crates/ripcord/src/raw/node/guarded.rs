//! The fields that a node's lock guards: its waiters, children, functions and tokens.

use std::task::Waker;

use super::children::ChildSlot;
use super::{Callback, Child};
#[cfg(feature = "tokio-util")]
use crate::raw::tree::token::Tokens;
use crate::slab::Slab;

/// The fields that the lock bit guards. They take two words, because most nodes have no waiter or one waiter.
pub(crate) enum Guarded {
    One(Waker),
    Many(Option<Box<More>>),
}

/// Fields that few nodes need.
pub(crate) struct More {
    /// The waiter whose key is 0. The key of any other waiter is its key in `waiters` plus one.
    first: Option<Waker>,
    pub(in crate::raw) waiters: Slab<Waker>,
    pub(in crate::raw) children: Slab<Child, ChildSlot>,
    pub(in crate::raw) callbacks: Slab<Callback>,
    /// The tokens that are canceled when this node ends, or a grace after that.
    #[cfg(feature = "tokio-util")]
    pub(in crate::raw) tokens: Tokens,
    /// The number of cancel handles.
    pub(in crate::raw) handles: usize,
    /// Whether nothing can end the node anymore (invariant 11).
    pub(in crate::raw) is_endless: bool,
}

impl Guarded {
    pub(in crate::raw) const NOTHING: Guarded = Guarded::Many(None);

    /// Returns the fields that few nodes need, if this node has them.
    pub(in crate::raw) fn rest(&mut self) -> Option<&mut More> {
        match self {
            Guarded::Many(more) => more.as_deref_mut(),
            Guarded::One(_) => None,
        }
    }

    /// Returns the fields that few nodes need. Creates them if this node does not have them.
    pub(in crate::raw) fn more(&mut self) -> &mut More {
        if !matches!(self, Guarded::Many(Some(_))) {
            let first = self.take_first();
            *self = Guarded::Many(Some(Box::new(More {
                first,
                waiters: Slab::new(),
                children: Slab::new(),
                callbacks: Slab::new(),
                #[cfg(feature = "tokio-util")]
                tokens: Tokens::default(),
                handles: 0,
                is_endless: false,
            })));
        }
        match self {
            Guarded::Many(Some(more)) => more,
            _ => unreachable!("it was created above"),
        }
    }

    pub(in crate::raw) fn has_children(&mut self) -> bool {
        self.rest().is_some_and(|more| !more.children.is_empty())
    }

    /// Takes the waiter whose key is 0.
    pub(in crate::raw) fn take_first(&mut self) -> Option<Waker> {
        match self {
            Guarded::Many(None) => None,
            Guarded::Many(Some(more)) => more.first.take(),
            Guarded::One(_) => match std::mem::replace(self, Guarded::NOTHING) {
                Guarded::One(waker) => Some(waker),
                Guarded::Many(_) => None,
            },
        }
    }

    pub(in crate::raw) fn waiter(&mut self, key: u32) -> Option<&mut Waker> {
        match (self, key) {
            (Guarded::One(waker), 0) => Some(waker),
            (Guarded::Many(Some(more)), 0) => more.first.as_mut(),
            (Guarded::Many(Some(more)), key) => more.waiters.get_mut(key - 1),
            _ => None,
        }
    }

    pub(in crate::raw) fn add_waiter(&mut self, waker: Waker) -> u32 {
        if matches!(self, Guarded::Many(None)) {
            *self = Guarded::One(waker);
            return 0;
        }
        let more = self.more();
        if more.first.is_none() {
            more.first = Some(waker);
            return 0;
        }
        more.waiters.insert(waker) + 1
    }

    pub(in crate::raw) fn remove_waiter(&mut self, key: u32) -> Option<Waker> {
        match key {
            0 => self.take_first(),
            _ => self.rest()?.waiters.remove(key - 1),
        }
    }
}
