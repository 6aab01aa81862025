//! Reuse of the memory of freed nodes.
//!
//! Most contexts live for a short time and are freed by the thread that created them. The allocator takes half of the time to
//! create and drop a context (row C1). All nodes have one size. So each thread keeps the memory of a few freed nodes on a
//! stack, and reuses the most recently used memory first.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::Node;
#[cfg(ripcord_loom)]
pub(crate) use modeled as kept;

type NodeMemory = Box<MaybeUninit<Node>>;

/// Returns memory for a node.
#[inline]
pub(super) fn allocate() -> NodeMemory {
    kept::take().unwrap_or_else(Box::new_uninit)
}

/// The memory of a node that is being freed. The drop releases the memory, even if a user's `Drop` panicked before.
pub(super) struct Memory(NonNull<Node>);

impl Memory {
    /// # Safety
    ///
    /// The memory is from `allocate`, and is not used after this value is dropped.
    pub(super) unsafe fn new(node: NonNull<Node>) -> Self {
        Memory(node)
    }
}

impl Drop for Memory {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the contract of `new`, the memory is from a box, and this is its last use.
        kept::keep(unsafe { Box::from_raw(self.0.cast::<MaybeUninit<Node>>().as_ptr()) });
    }
}

#[cfg(not(ripcord_loom))]
mod kept {
    use std::cell::Cell;

    use super::NodeMemory;

    /// Maximum number of nodes whose memory a thread keeps. It is somewhat larger than the number of contexts of a request.
    /// Zero under tools that detect uses of freed memory.
    const MAX_KEPT: usize = if cfg!(any(miri, ripcord_sanitize)) { 0 } else { 32 };

    struct Kept {
        slots: [Cell<Option<NodeMemory>>; MAX_KEPT],
        /// The number of full slots. The full slots are the first slots.
        len: Cell<usize>,
    }

    thread_local! {
        // Dropped at the end of the thread. Nodes that are created or freed after the drop use the allocator.
        static KEPT: Kept = const { Kept { slots: [const { Cell::new(None) }; MAX_KEPT], len: Cell::new(0) } };
    }

    #[inline]
    pub(super) fn take() -> Option<NodeMemory> {
        let kept = KEPT.try_with(|kept| {
            let last = kept.len.get().checked_sub(1)?;
            kept.len.set(last);
            kept.slots.get(last)?.take()
        });
        kept.ok().flatten()
    }

    #[inline]
    pub(super) fn keep(memory: NodeMemory) {
        let mut memory = Some(memory);
        let _thread_ends = KEPT.try_with(|kept| {
            let len = kept.len.get();
            if let Some(slot) = kept.slots.get(len) {
                slot.set(memory.take());
                kept.len.set(len + 1);
            }
        });
    }
}

/// Keeps all freed memory until the next execution of the model, so that loom detects every use of freed memory.
#[cfg(ripcord_loom)]
pub(crate) mod modeled {
    use std::cell::{Cell, RefCell};

    use super::NodeMemory;

    // loom runs all threads of a model on one system thread.
    thread_local! {
        static FREED: RefCell<Vec<NodeMemory>> = const { RefCell::new(Vec::new()) };
        static ALIVE: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn take() -> Option<NodeMemory> {
        ALIVE.set(ALIVE.get() + 1);
        None
    }

    pub(super) fn keep(memory: NodeMemory) {
        ALIVE.set(ALIVE.get() - 1);
        FREED.with_borrow_mut(|freed| freed.push(memory));
    }

    /// Forgets the nodes of the previous execution.
    #[cfg(test)]
    pub(crate) fn start() {
        ALIVE.set(0);
        FREED.take();
    }

    /// Returns the number of nodes that are not freed.
    #[cfg(test)]
    pub(crate) fn alive() -> usize {
        ALIVE.get()
    }
}
