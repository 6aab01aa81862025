//! Memory of freed nodes, kept for the next ones of the thread.
//!
//! Most contexts are short-lived and freed where they were made. Half of what making one and dropping it costs is the
//! allocator's (row C1), and all nodes are of one size. So each thread keeps the memory of a few that it freed, as a stack, which
//! also hands out first what is still in the cache.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::Node;

/// How many a thread keeps: some more than a request is deep.
const MOST: usize = if cfg!(any(miri, ripcord_loom)) { 0 } else { 32 };

struct Kept {
    places: [Cell<Option<Box<MaybeUninit<Node>>>>; MOST],
    /// So many of the places are full: the first ones.
    len: Cell<usize>,
}

thread_local! {
    // Dropped with the thread; a node that is made or freed even later goes to the allocator.
    static KEPT: Kept = const { Kept { places: [const { Cell::new(None) }; MOST], len: Cell::new(0) } };
}

/// Memory for a node.
#[inline]
pub(super) fn allocate() -> Box<MaybeUninit<Node>> {
    let kept = KEPT.try_with(|kept| {
        let last = kept.len.get().checked_sub(1)?;
        kept.len.set(last);
        kept.places.get(last)?.take()
    });
    kept.ok().flatten().unwrap_or_else(Box::new_uninit)
}

/// The memory of a node that is being freed, also when a panic of a user's `Drop` cuts that short: released when dropped.
pub(super) struct Memory(NonNull<Node>);

impl Memory {
    /// # Safety
    ///
    /// The memory is from `allocate`, and nobody uses it when this is dropped.
    pub(super) unsafe fn of(node: NonNull<Node>) -> Self {
        Memory(node)
    }
}

impl Drop for Memory {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: by the contract of `of` it is a box's, and this is its last use.
        let mut memory = Some(unsafe { Box::from_raw(self.0.cast::<MaybeUninit<Node>>().as_ptr()) });
        let _thread_ends = KEPT.try_with(|kept| {
            let len = kept.len.get();
            if let Some(place) = kept.places.get(len) {
                place.set(memory.take());
                kept.len.set(len + 1);
            }
        });
    }
}
