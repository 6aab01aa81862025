//! The coarse clock, which is cheap to read and a little behind.
//!
//! On Linux, a process reads the time of the kernel's last tick in 6 ns. Reading the exact time takes 17 to 28 ns, measured.
//! The coarse time is enough to see that a deadline is far away (row C13).

/// Returns the monotonic time of the kernel's last tick, in nanoseconds. The clock is the clock of `Instant`. The time is a few
/// milliseconds behind and never ahead. Returns `None` if the system has no such clock.
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri)))]
#[inline]
pub(crate) fn since_boot() -> Option<i64> {
    const CLOCK_MONOTONIC_COARSE: i32 = 6;
    read(CLOCK_MONOTONIC_COARSE)
}

/// Returns the exact time on the same scale.
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri)))]
pub(crate) fn exact_since_boot() -> Option<i64> {
    const CLOCK_MONOTONIC: i32 = 1;
    read(CLOCK_MONOTONIC)
}

#[cfg(all(target_os = "linux", target_pointer_width = "64", not(miri)))]
#[inline]
fn read(clock: i32) -> Option<i64> {
    use std::ffi::{c_int, c_long};

    #[repr(C)]
    struct Timespec {
        seconds: i64,
        nanoseconds: c_long,
    }

    unsafe extern "C" {
        fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    }

    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the C library, which the standard library links, has this function with this signature (clock_gettime(2)), and
    // `Timespec` is its `struct timespec` on targets with 64-bit pointers. The function writes only to `time`.
    let failed = unsafe { clock_gettime(clock, &raw mut time) } != 0;
    // Exact for an uptime of up to 292 years.
    (!failed).then(|| time.seconds.wrapping_mul(1_000_000_000).wrapping_add(time.nanoseconds))
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", not(miri))))]
pub(crate) fn exact_since_boot() -> Option<i64> {
    None
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", not(miri))))]
pub(crate) fn since_boot() -> Option<i64> {
    None
}
