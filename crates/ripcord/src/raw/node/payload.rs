//! The kind of a node, and the one word of data that belongs to it.
//!
//! A Rust `enum` would take two words, one of them for its tag. Here the tag is a byte at the start of the node, which a walk
//! up the tree reads anyway. So a node takes 72 bytes instead of 80 (rows C4, C12, C18).

use std::borrow::Cow;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use super::{Merge, Shield};
use crate::raw::clock::Clock;
use crate::raw::movable::Movable;
use crate::raw::values::{OwnedValue, ValueEntry};

/// No deadline.
pub(crate) const NEVER: i64 = i64::MAX;

/// The kind of a new node.
pub(crate) enum Payload {
    Cancel {
        /// A copy of the deadline above. `NEVER` if there is no deadline above, or if a deadline above can be moved.
        when: i64,
    },
    Deadline {
        when: i64,
        /// The clock of the deadline. `None` for the system's clock.
        clock: Option<Clock>,
    },
    Movable(Box<Movable>),
    Merge(Box<Merge>),
    WithoutCancel,
    Shielded(Box<Shield>),
    /// A listener, such as for a signal, that can end the context above. It is dropped with the node.
    #[allow(dead_code, reason = "for the features `tokio-util` and `signals`")]
    Attached(Box<dyn Send + Sync>),
    Value(OwnedValue),
    /// The errors that contain the name share it.
    Name(Arc<Cow<'static, str>>),
    Clock(Box<Clock>),
}

/// The kind of a node.
pub(crate) enum Kind<'a> {
    /// The static root of `Context::todo`.
    Todo,
    Cancel,
    Deadline {
        when: i64,
    },
    Movable(&'a Movable),
    Merge(&'a Merge),
    WithoutCancel,
    Shielded(&'a Shield),
    Attached,
    Value(&'a ValueEntry),
    Name(&'a Arc<Cow<'static, str>>),
    Clock(&'a Clock),
}

/// The stored form of a `Payload` is a tag and a word. The tag says which field of the word is valid.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    Cancel,
    Deadline,
    /// A deadline on a clock that is not the system's.
    ClockedDeadline,
    Movable,
    Merge,
    WithoutCancel,
    Shielded,
    Attached,
    Value,
    Name,
    Clock,
    #[cfg_attr(ripcord_loom, expect(dead_code, reason = "loom's atomics cannot lie in a static"))]
    Todo,
}

/// A deadline on a clock that is not the system's.
pub(super) struct Clocked {
    when: i64,
    clock: Clock,
}

pub(super) union Word {
    nothing: (),
    when: i64,
    clocked: ManuallyDrop<Box<Clocked>>,
    movable: ManuallyDrop<Box<Movable>>,
    merge: ManuallyDrop<Box<Merge>>,
    shield: ManuallyDrop<Box<Shield>>,
    listener: ManuallyDrop<Box<Box<dyn Send + Sync>>>,
    value: ManuallyDrop<OwnedValue>,
    name: ManuallyDrop<Arc<Cow<'static, str>>>,
    clock: ManuallyDrop<Box<Clock>>,
}

impl Word {
    pub(super) const NOTHING: Word = Word { nothing: () };

    // Always inlined: see `NodeRef::allocate`.
    #[inline(always)]
    pub(super) fn new(payload: Payload) -> (Tag, Word) {
        match payload {
            Payload::Cancel { when } => (Tag::Cancel, Word { when }),
            Payload::Deadline { when, clock: None } => (Tag::Deadline, Word { when }),
            Payload::Deadline { when, clock: Some(clock) } => {
                let clocked = ManuallyDrop::new(Box::new(Clocked { when, clock }));
                (Tag::ClockedDeadline, Word { clocked })
            }
            Payload::Movable(movable) => (Tag::Movable, Word { movable: ManuallyDrop::new(movable) }),
            Payload::Merge(merge) => (Tag::Merge, Word { merge: ManuallyDrop::new(merge) }),
            Payload::WithoutCancel => (Tag::WithoutCancel, Word::NOTHING),
            Payload::Shielded(shield) => (Tag::Shielded, Word { shield: ManuallyDrop::new(shield) }),
            Payload::Attached(listener) => (Tag::Attached, Word { listener: ManuallyDrop::new(Box::new(listener)) }),
            Payload::Value(value) => (Tag::Value, Word { value: ManuallyDrop::new(value) }),
            Payload::Name(name) => (Tag::Name, Word { name: ManuallyDrop::new(name) }),
            Payload::Clock(clock) => (Tag::Clock, Word { clock: ManuallyDrop::new(clock) }),
        }
    }

    /// # Safety
    ///
    /// `new` returned this word with `tag` (or the word is `NOTHING` and `tag` is `Todo`), and the word has not been dropped.
    #[inline]
    pub(super) unsafe fn kind(&self, tag: Tag) -> Kind<'_> {
        // SAFETY: in each case, `new` wrote this field with this tag.
        unsafe {
            match tag {
                Tag::Todo => Kind::Todo,
                Tag::Cancel => Kind::Cancel,
                Tag::Deadline => Kind::Deadline { when: self.when },
                Tag::ClockedDeadline => Kind::Deadline { when: self.clocked.when },
                Tag::Movable => Kind::Movable(&self.movable),
                Tag::Merge => Kind::Merge(&self.merge),
                Tag::WithoutCancel => Kind::WithoutCancel,
                Tag::Shielded => Kind::Shielded(&self.shield),
                Tag::Attached => Kind::Attached,
                Tag::Value => Kind::Value(&self.value),
                Tag::Name => Kind::Name(&self.name),
                Tag::Clock => Kind::Clock(&self.clock),
            }
        }
    }

    /// Returns the effective deadline of a node that can end, or `NEVER`. The result is not valid for a node that holds no copy
    /// (`tree`, invariant 14).
    ///
    /// # Safety
    ///
    /// As for `kind`.
    #[inline]
    pub(super) unsafe fn deadline(&self, tag: Tag) -> i64 {
        // SAFETY: as in `kind`.
        unsafe {
            match tag {
                Tag::Cancel | Tag::Deadline => self.when,
                _ => self.deadline_in_box(tag),
            }
        }
    }

    /// Reads a deadline that is not in the word itself. A separate function, so that a hot loop uses no jump table (row C4).
    ///
    /// # Safety
    ///
    /// As for `kind`.
    #[inline(never)]
    unsafe fn deadline_in_box(&self, tag: Tag) -> i64 {
        // SAFETY: as in `kind`.
        unsafe {
            match tag {
                Tag::ClockedDeadline => self.clocked.when,
                Tag::Merge => self.merge.when,
                Tag::Shielded => self.shield.when,
                _ => NEVER,
            }
        }
    }

    /// Returns the clock that this node holds: a clock set on the node, or the clock of its deadline or grace.
    ///
    /// # Safety
    ///
    /// As for `kind`.
    pub(super) unsafe fn clock(&self, tag: Tag) -> Option<&Clock> {
        // SAFETY: as in `kind`.
        unsafe {
            match tag {
                Tag::ClockedDeadline => Some(&self.clocked.clock),
                Tag::Shielded => Some(&self.shield.clock),
                Tag::Movable => self.movable.clock(),
                Tag::Clock => Some(&self.clock),
                _ => None,
            }
        }
    }

    /// Drops the word. Returns the fields of a merged context instead, so that its second parent can be dropped without
    /// recursion.
    ///
    /// # Safety
    ///
    /// As for `kind`, and this is the last use of the word.
    #[inline]
    pub(super) unsafe fn drop(&mut self, tag: Tag) -> Option<Box<Merge>> {
        // SAFETY: as in `kind`. Each field is taken once, because the word is dropped once.
        unsafe {
            match tag {
                Tag::Cancel | Tag::Deadline | Tag::WithoutCancel | Tag::Todo => {}
                Tag::ClockedDeadline => ManuallyDrop::drop(&mut self.clocked),
                Tag::Movable => ManuallyDrop::drop(&mut self.movable),
                Tag::Merge => return Some(ManuallyDrop::take(&mut self.merge)),
                Tag::Shielded => ManuallyDrop::drop(&mut self.shield),
                Tag::Attached => ManuallyDrop::drop(&mut self.listener),
                Tag::Value => ManuallyDrop::drop(&mut self.value),
                Tag::Name => ManuallyDrop::drop(&mut self.name),
                Tag::Clock => ManuallyDrop::drop(&mut self.clock),
            }
        }
        None
    }
}
