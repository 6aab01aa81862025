//! The system's clock: one thread for all deadlines of the process.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use super::ticks_of_system;
use crate::raw::timers::Timers;

/// The deadlines that count on the system's clock.
pub(super) fn timers() -> &'static Timers {
    static TIMERS: OnceLock<Timers> = OnceLock::new();
    TIMERS.get_or_init(|| Timers::wheel(alarm))
}

/// Wakes the timer's thread, which looks at the queue anew; starts it at the first call.
///
/// Should the system refuse a thread, the next deadline that is armed tries again; until then `is_done` and `err` are right
/// all the same, since they ask the clock.
fn alarm() {
    static THREAD: Mutex<Option<Thread>> = Mutex::new(None);
    let mut thread = THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    match &*thread {
        // A token is kept for a thread that is not parked yet, so no alarm is lost.
        Some(thread) => thread.unpark(),
        None => {
            let started = std::thread::Builder::new().name("ripcord-timer".to_owned()).spawn(drive);
            *thread = started.ok().map(|handle| handle.thread().clone());
        }
    }
}

fn drive() {
    loop {
        let now = ticks_of_system();
        let Some(next) = timers().fire(now) else { continue };
        if next == i64::MAX {
            std::thread::park();
        } else {
            let left = next.saturating_sub(ticks_of_system());
            if left > 0 {
                std::thread::park_timeout(Duration::from_nanos(left.unsigned_abs()));
            }
        }
    }
}
