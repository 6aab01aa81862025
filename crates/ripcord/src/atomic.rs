//! Selects the standard library's atomics or loom's.
//!
//! `RUSTFLAGS="--cfg ripcord_loom"` builds the crate with loom's types. So the models in `src/loom_models` explore every
//! interleaving of the released code, and not of a copy of the code.

#[cfg(not(ripcord_loom))]
pub(crate) use std_types::*;

#[cfg(ripcord_loom)]
pub(crate) use loom_types::*;

#[cfg(not(ripcord_loom))]
mod std_types {
    pub(crate) use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    /// Marks an access to non-atomic memory for loom. Without loom, it has no effect.
    pub(crate) struct Access;

    impl Access {
        pub(crate) const fn new() -> Self {
            Access
        }

        pub(crate) fn read(&self) {}

        pub(crate) fn write(&self) {}

        pub(crate) fn end(&self) {}
    }

    /// Number of times that a thread tries to take a lock before it yields.
    const SPINS: u32 = 64;
    /// Number of times that a thread yields before it sleeps between tries.
    const YIELDS: u32 = 32;

    /// Performs one step of waiting for a lock whose holder does a bounded, short piece of work.
    ///
    /// The first steps spin, because the holder is nearly always running on another core. The next steps yield, because the
    /// holder may have been preempted. Later steps sleep, a little longer each time, so that a waiter of higher real-time
    /// priority cannot starve the holder forever.
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

    /// Returns the counter of the propagations that are in progress in this process (see `raw::tree`, invariant 8).
    #[inline]
    pub(crate) fn propagations() -> &'static AtomicUsize {
        static PROPAGATIONS: AtomicUsize = AtomicUsize::new(0);
        &PROPAGATIONS
    }
}

#[cfg(ripcord_loom)]
mod loom_types {
    use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    /// Reports the accesses to some non-atomic memory to loom, which checks them.
    pub(crate) struct Access {
        cell: UnsafeCell<()>,
        /// loom runs a model on one system thread, so this flag is exact and adds no ordering that loom does not track.
        ended: std::sync::atomic::AtomicBool,
    }

    impl Access {
        pub(crate) fn new() -> Self {
            Access { cell: UnsafeCell::new(()), ended: std::sync::atomic::AtomicBool::new(false) }
        }

        /// Fails the model unless every write happened before this read.
        #[track_caller]
        pub(crate) fn read(&self) {
            if self.is_checked() {
                self.cell.with(|_| ());
            }
        }

        /// Fails the model unless every read and every other write happened before this write.
        #[track_caller]
        pub(crate) fn write(&self) {
            if self.is_checked() {
                self.cell.with_mut(|_| ());
            }
        }

        /// Reports a write that must be the last access of all.
        #[track_caller]
        pub(crate) fn end(&self) {
            self.write();
            self.ended.store(true, std::sync::atomic::Ordering::Relaxed);
        }

        #[track_caller]
        fn is_checked(&self) -> bool {
            // A second panic would hide the first one.
            if std::thread::panicking() {
                return false;
            }
            assert!(!self.ended.load(std::sync::atomic::Ordering::Relaxed), "used after it was freed");
            true
        }
    }

    pub(crate) fn back_off(_step: &mut u32) {
        loom::thread::yield_now();
    }

    loom::lazy_static! {
        static ref PROPAGATIONS: AtomicUsize = AtomicUsize::new(0);
    }

    pub(crate) fn propagations() -> &'static AtomicUsize {
        // A lazy static of loom lives for one execution of a model, and the execution outlives every borrow made in it.
        &PROPAGATIONS
    }
}
