//! The one switch between the standard library's atomics and loom's.
//!
//! `RUSTFLAGS="--cfg ripcord_loom"` builds the crate on loom's types, so that the models in `src/loom_models.rs` explore
//! every interleaving of the code that ships, not of a copy of it.

#[cfg(not(ripcord_loom))]
pub(crate) use std_types::*;

#[cfg(ripcord_loom)]
pub(crate) use loom_types::*;

#[cfg(not(ripcord_loom))]
mod std_types {
    pub(crate) use std::cell::UnsafeCell;
    pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};

    /// How many times a lock is tried before its thread gives way.
    const SPINS: u32 = 64;
    /// How many times a thread gives way before it sleeps between tries.
    const YIELDS: u32 = 32;

    /// One step of waiting for a lock whose holder does a bounded, short piece of work.
    ///
    /// Spinning first, since the holder is nearly always running on another core; then giving way, since it may have
    /// been preempted; then sleeping a little longer each time, so that a waiter of higher real-time priority cannot
    /// starve the holder for ever.
    #[cold]
    pub(crate) fn back_off(step: &mut u32) {
        *step = step.saturating_add(1);
        if *step <= SPINS {
            std::hint::spin_loop();
        } else if *step <= SPINS + YIELDS {
            std::thread::yield_now();
        } else {
            let rounds = (*step - SPINS - YIELDS).min(20);
            std::thread::sleep(std::time::Duration::from_micros(u64::from(rounds) * 50));
        }
    }

    /// How many propagations are under way in this process (see `raw::tree`, invariant 8).
    #[inline]
    pub(crate) fn propagations() -> &'static AtomicUsize {
        static PROPAGATIONS: AtomicUsize = AtomicUsize::new(0);
        &PROPAGATIONS
    }
}

#[cfg(ripcord_loom)]
mod loom_types {
    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};
    // The cells are guarded by the atomics above, whose orderings loom checks; a plain cell keeps the code the same.
    pub(crate) use std::cell::UnsafeCell;

    pub(crate) fn back_off(_step: &mut u32) {
        loom::thread::yield_now();
    }

    loom::lazy_static! {
        static ref PROPAGATIONS: AtomicUsize = AtomicUsize::new(0);
    }

    pub(crate) fn propagations() -> &'static AtomicUsize {
        // loom's lazy statics live for one execution of a model, which outlives every borrow made in it.
        &PROPAGATIONS
    }
}
