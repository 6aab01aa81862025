//! The floors: the minimum work of an operation, measured on the same machine.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use crate::alloc::live_bytes;
use crate::timing::{Threads, Timing};

/// A floor. Its cost is the cost of one call in a loop.
pub(crate) struct Floor {
    pub(crate) name: &'static str,
    sample: Box<dyn Fn(u64) -> Timing>,
}

impl Floor {
    pub(crate) fn new(name: &'static str, sample: impl Fn(u64) -> Timing + 'static) -> Self {
        Floor { name, sample: Box::new(sample) }
    }

    /// Times `iterations` calls.
    pub(crate) fn sample(&self, iterations: u64) -> Timing {
        (self.sample)(iterations)
    }

    /// One relaxed load of an atomic that all threads share.
    pub(crate) fn load(threads: Threads) -> Self {
        Floor::new("relaxed load", move |iterations| {
            let flag = Box::new(AtomicBool::new(false));
            threads.clock(iterations, || black_box(&flag).load(Relaxed))
        })
    }

    /// One locked read-modify-write of an atomic that all threads share.
    pub(crate) fn locked_add(threads: Threads) -> Self {
        Floor::new("locked add", move |iterations| {
            let count = Box::new(AtomicUsize::new(0));
            threads.clock(iterations, || black_box(&count).fetch_add(1, Relaxed))
        })
    }

    /// One allocation of the bytes that `make` leaves allocated, and its release. `make` runs on its own thread, because a thread
    /// that has dropped contexts keeps memory for new contexts, and a new context would then allocate nothing.
    pub(crate) fn allocation_of<T>(threads: Threads, make: impl FnOnce() -> T + Send) -> Self {
        let measure = || {
            let (_made, bytes) = live_bytes(make);
            bytes
        };
        let bytes = std::thread::scope(|scope| scope.spawn(measure).join().expect("creating a context does not panic"));
        Floor::new("allocate + free", move |iterations| {
            threads.clock(iterations, || Vec::<u8>::with_capacity(black_box(bytes)))
        })
    }

    /// One clone of an `Arc` and its drop.
    pub(crate) fn clone_of_arc() -> Self {
        Floor::new("clone of an Arc", |iterations| {
            let shared = Arc::new(AtomicBool::new(false));
            Threads::One.clock(iterations, || Arc::clone(black_box(&shared)))
        })
    }

    /// One read of the clock.
    pub(crate) fn clock_read() -> Self {
        Floor::new("Instant::now", |iterations| Threads::One.clock(iterations, Instant::now))
    }
}
