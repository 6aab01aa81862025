//! A parent's list of children, which takes one word per child.

use std::ptr::NonNull;

use super::Node;
use crate::slab::Slot;

/// A pointer in a parent's list of children (invariant 4).
pub(crate) struct Child {
    pub(crate) node: NonNull<Node>,
    /// Whether the list belongs to the child's second parent. Then the child is a merged context.
    pub(crate) second: bool,
}

/// A `Child` or a free slot. The two lowest bits of the pointer, which are zero because of its alignment, distinguish the two.
/// An `enum` would take two words (row C18).
pub(crate) struct ChildSlot(*mut Node);

const SECOND: usize = 1;
const FREE: usize = 2;
const SHIFT: u32 = 2;

const _: () = assert!(align_of::<Node>() > SECOND | FREE);

impl Slot<Child> for ChildSlot {
    #[inline]
    fn full(child: Child) -> Self {
        ChildSlot(child.node.as_ptr().map_addr(|address| address | if child.second { SECOND } else { 0 }))
    }

    #[inline]
    fn free(next: u32) -> Self {
        // Adding one turns `NONE` into zero, so the shifted value always fits.
        ChildSlot(std::ptr::without_provenance_mut((next.wrapping_add(1) as usize) << SHIFT | FREE))
    }

    #[inline]
    fn next_free(&self) -> Option<u32> {
        (self.0.addr() & FREE != 0).then(|| ((self.0.addr() >> SHIFT) as u32).wrapping_sub(1))
    }

    #[inline]
    fn into_value(self) -> Option<Child> {
        let second = self.0.addr() & SECOND != 0;
        let node = NonNull::new(self.0.map_addr(|address| address & !SECOND))?;
        self.next_free().is_none().then_some(Child { node, second })
    }
}

impl ChildSlot {
    /// Returns the child, or `None` if the slot is free.
    #[inline]
    pub(in crate::raw) fn node(&self) -> Option<NonNull<Node>> {
        ChildSlot(self.0).into_value().map(|child| child.node)
    }
}

// SAFETY: nodes are Send and Sync. The pointer is followed only under the parent's lock (invariant 4).
unsafe impl Send for ChildSlot {}

#[cfg(all(test, not(ripcord_loom)))]
mod tests {
    use super::*;
    use crate::Context;
    use crate::slab::{NONE, Slab};

    #[test]
    fn slot_is_a_child_or_free() {
        assert_eq!(size_of::<ChildSlot>(), size_of::<usize>());
        let (ctx, _cancel) = Context::background().with_cancel();
        let node = ctx.ender().map(|node| node.pointer()).expect("it can end");
        for second in [false, true] {
            let slot = ChildSlot::full(Child { node, second });
            assert!(slot.next_free().is_none() && slot.node() == Some(node));
            let child = slot.into_value().expect("it is full");
            assert!(child.node == node && child.second == second);
        }
        for next in [0, 1, 1 << 20, NONE] {
            let slot = ChildSlot::free(next);
            assert!(slot.next_free() == Some(next) && slot.node().is_none() && slot.into_value().is_none());
        }
    }

    #[test]
    fn freed_slots_are_reused() {
        let (ctx, _cancel) = Context::background().with_cancel();
        let node = ctx.ender().map(|node| node.pointer()).expect("it can end");
        let mut slab: Slab<Child, ChildSlot> = Slab::new();
        let keys = [(); 3].map(|()| slab.insert(Child { node, second: false }));
        assert!(slab.remove(keys[0]).is_some() && slab.remove(keys[1]).is_some() && slab.remove(keys[1]).is_none());
        assert_eq!(slab.insert(Child { node, second: true }), keys[1]);
        assert_eq!(slab.insert(Child { node, second: true }), keys[0]);
        assert!(slab.remove(keys[0]).is_some_and(|child| child.second));
    }
}
