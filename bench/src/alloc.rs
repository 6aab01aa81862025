//! The system's allocator, used by all sides, with an optional count of live bytes.
//!
//! Rows that measure time leave the count off. It then costs one relaxed load per call. Sizes are the requested sizes, without
//! the rounding of the system's allocator.

#![expect(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);

pub(crate) struct Allocator;

/// Runs `build`. Returns its result and the number of bytes that it left allocated, on all threads.
pub(crate) fn live_bytes<T>(build: impl FnOnce() -> T) -> (T, usize) {
    LIVE.store(0, Relaxed);
    COUNTING.store(true, Relaxed);
    let built = build();
    COUNTING.store(false, Relaxed);
    (built, usize::try_from(LIVE.load(Relaxed)).unwrap_or(0))
}

fn note(bytes: isize) {
    if COUNTING.load(Relaxed) {
        LIVE.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: every call is passed on to `System` unchanged. `note` does not allocate and cannot unwind.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size().cast_signed());
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-layout.size().cast_signed());
        // SAFETY: the caller keeps `dealloc`'s contract, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the caller keeps `realloc`'s contract, and `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
