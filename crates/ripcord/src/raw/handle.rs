//! What a context is: a reference to its node, and what is known of an attempt of a retry around it, in one word.
//!
//! That an attempt's context says so must not cost what a node does: it is as much as all else that a retry takes of a call
//! that succeeds at once (row P3). So the handle says it, in the lowest bits of its pointer, which alignment leaves zero; a
//! second word for it would be one more for each future that holds a context (row C18). Contexts derived from a handle say what
//! it does by a flag of their nodes.
//!
//! # Invariants
//!
//! 1. A handle's pointer without the bits is null, for the background, or that of a strong reference to a node, which the
//!    handle owns.
//! 2. One of the bits at most is set. Without either a handle says what its node does, and the background is outside of all
//!    attempts.

use std::marker::PhantomData;
use std::mem::{ManuallyDrop, forget};
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};

use super::node::{Node, NodeRef, flag};

/// A context's one word.
pub(crate) struct Handle(*mut Node);

/// The bit of a handle that was given to an attempt, and that of one which is for others' work. (Invariant 2.)
const INSIDE_RETRY: usize = 1;
const OUTSIDE_RETRY: usize = 2;
const BITS: usize = INSIDE_RETRY | OUTSIDE_RETRY;

const _: () = assert!(align_of::<Node>() > BITS);

// SAFETY: what it owns is a `NodeRef`, which is both.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    pub(crate) const BACKGROUND: Handle = Handle(null_mut());

    #[inline]
    pub(crate) fn new(node: Option<NodeRef>) -> Self {
        let Some(node) = node else { return Handle::BACKGROUND };
        let pointer = node.pointer().as_ptr();
        forget(node);
        Handle(pointer)
    }

    /// The node, none for the background.
    #[inline]
    pub(crate) fn node(&self) -> Option<Held<'_>> {
        let pointer = NonNull::new(self.0.map_addr(|address| address & !BITS))?;
        // SAFETY: the handle owns a reference to it (invariant 1), and is borrowed for as long as the result lives.
        Some(unsafe { Held::new(pointer) })
    }

    /// The same node, said to be inside of an attempt of a retry.
    #[inline]
    pub(crate) fn into_inside_retry(self) -> Self {
        self.with_bit(INSIDE_RETRY)
    }

    /// The same node, said to be outside of all attempts.
    #[inline]
    pub(crate) fn into_outside_retry(self) -> Self {
        self.with_bit(OUTSIDE_RETRY)
    }

    #[inline]
    fn with_bit(self, bit: usize) -> Self {
        let this = ManuallyDrop::new(self);
        Handle(this.0.map_addr(|address| address & !BITS | bit))
    }

    /// Whether it is inside of an attempt of a retry. (Invariant 2.)
    #[inline]
    pub(crate) fn is_inside_retry(&self) -> bool {
        self.flags() & flag::INSIDE_RETRY != 0
    }

    /// The node's flags, but with `INSIDE_RETRY` as this handle says it.
    #[inline]
    pub(crate) fn flags(&self) -> u8 {
        let flags = self.node().map_or(0, |node| node.flags);
        match self.0.addr() & BITS {
            INSIDE_RETRY => flags | flag::INSIDE_RETRY,
            OUTSIDE_RETRY => flags & !flag::INSIDE_RETRY,
            _ => flags,
        }
    }
}

impl Clone for Handle {
    #[inline]
    fn clone(&self) -> Self {
        if let Some(node) = self.node() {
            // The one that the clone owns.
            forget(node.clone());
        }
        Handle(self.0)
    }
}

impl Drop for Handle {
    #[inline]
    fn drop(&mut self) {
        if let Some(node) = self.node() {
            // The one that this owned.
            drop(ManuallyDrop::into_inner(node.node));
        }
    }
}

/// A reference to a node that somebody else holds for as long as this lives.
pub(crate) struct Held<'a> {
    node: ManuallyDrop<NodeRef>,
    holder: PhantomData<&'a NodeRef>,
}

impl<'a> Held<'a> {
    /// # Safety
    ///
    /// A strong reference to the node exists for the whole of `'a`.
    #[inline]
    unsafe fn new(pointer: NonNull<Node>) -> Self {
        // SAFETY: it stands for the reference that exists, and is not dropped.
        Held { node: ManuallyDrop::new(unsafe { NodeRef::from_pointer(pointer) }), holder: PhantomData }
    }

    /// The node itself, which lives as long as its holder.
    #[inline]
    pub(crate) fn get(&self) -> &'a Node {
        // SAFETY: a strong reference keeps it alive for the whole of `'a`.
        unsafe { self.node.pointer().as_ref() }
    }

    /// As [`NodeRef::ender`].
    #[inline]
    pub(crate) fn ender(&self) -> Option<Held<'a>> {
        let ender = self.node.ender()?;
        // SAFETY: it is this node, or above it, and whatever is above a live node is alive (invariant 1 of `node`).
        Some(unsafe { Held::new(ender.pointer()) })
    }
}

impl Deref for Held<'_> {
    type Target = NodeRef;

    #[inline]
    fn deref(&self) -> &NodeRef {
        &self.node
    }
}
