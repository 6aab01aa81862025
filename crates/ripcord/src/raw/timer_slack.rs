//! The time by which the kernel may delay the timers of a thread.
//!
//! On Linux the slack is 50 us unless a thread changes it, so that the kernel can wake several threads at once. Row C19
//! measures the effect.

/// Makes the timers of this thread fire as soon as possible.
#[cfg(all(target_os = "linux", not(miri)))]
pub(crate) fn disable() {
    use std::ffi::{c_int, c_ulong};

    const PR_SET_TIMERSLACK: c_int = 29;

    unsafe extern "C" {
        fn prctl(option: c_int, ...) -> c_int;
    }

    let nanoseconds: c_ulong = 1;
    // SAFETY: the C library, which the standard library links, has this function with this signature (prctl(2)). With this
    // option it takes one `unsigned long` and changes only the slack of this thread. An error leaves the slack unchanged.
    unsafe { prctl(PR_SET_TIMERSLACK, nanoseconds) };
}

/// Has no effect on other systems.
#[cfg(not(all(target_os = "linux", not(miri))))]
pub(crate) fn disable() {}
