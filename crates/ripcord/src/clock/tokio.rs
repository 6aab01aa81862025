//! The clock of a tokio runtime. A task of the runtime drives the deadlines, so that they follow paused time.

use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::{instant_of, ticks_of};
use crate::raw::clock::Source;
use crate::raw::timers::Timers;

pub(super) struct Tokio {
    timers: Timers,
    driver: Arc<Driver>,
}

/// Wakes the waiters of the clock's deadlines.
struct Driver {
    clock: Weak<Tokio>,
    runtime: Option<Handle>,
    /// Notified when an earlier deadline is armed, and when the clock is dropped.
    changed: Notify,
    runs: Mutex<Runs>,
}

enum Runs {
    NotYet,
    InTask,
    InThread(Thread),
}

// No user code runs under the locks, so a panic leaves no invariant broken.
impl UnwindSafe for Tokio {}
impl RefUnwindSafe for Tokio {}

impl Tokio {
    pub(super) fn new() -> Arc<Self> {
        Arc::new_cyclic(|clock| {
            let driver = Arc::new(Driver {
                clock: clock.clone(),
                runtime: Handle::try_current().ok(),
                changed: Notify::new(),
                runs: Mutex::new(Runs::NotYet),
            });
            let alarmed = Arc::clone(&driver);
            Tokio { timers: Timers::exact(move || Driver::alarm(&alarmed)), driver }
        })
    }
}

impl Source for Tokio {
    /// Returns the time of the current runtime, paused or not. Outside of a runtime, returns the system's time.
    fn ticks(&self) -> i64 {
        ticks_of(tokio::time::Instant::now().into_std()).unwrap_or(i64::MAX)
    }

    fn timers(&self) -> &Timers {
        &self.timers
    }

    /// A task or a thread always drives this clock, so the caller never has to fire the timer.
    fn armed(&self, _when: i64) -> bool {
        false
    }

    fn constructor(&self) -> &'static str {
        "Clock::tokio"
    }
}

impl Drop for Tokio {
    fn drop(&mut self) {
        self.driver.changed.notify_one();
        if let Runs::InThread(thread) = &*self.driver.runs() {
            thread.unpark();
        }
    }
}

impl Driver {
    fn runs(&self) -> std::sync::MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the driver for an earlier deadline, or starts it. Returns false if no driver could be started.
    fn alarm(driver: &Arc<Driver>) -> bool {
        let mut runs = driver.runs();
        match (&*runs, &driver.runtime) {
            (Runs::InTask, _) => driver.changed.notify_one(),
            (Runs::InThread(thread), _) => thread.unpark(),
            (Runs::NotYet, Some(runtime)) => {
                *runs = Runs::InTask;
                // A runtime that is shutting down drops the task immediately, and the drop of the guard takes this lock.
                drop(runs);
                let guard = HandOver(Arc::clone(driver));
                drop(runtime.spawn(drive(guard)));
                return !matches!(*driver.runs(), Runs::NotYet);
            }
            (Runs::NotYet, None) => Driver::start_thread(driver, &mut runs),
        }
        !matches!(*runs, Runs::NotYet)
    }

    fn start_thread(driver: &Arc<Driver>, runs: &mut Runs) {
        let in_thread = Arc::clone(driver);
        let started =
            std::thread::Builder::new().name("ripcord-timer".to_owned()).spawn(move || in_thread.drive_in_thread());
        *runs = started.map_or(Runs::NotYet, |handle| Runs::InThread(handle.thread().clone()));
    }

    /// Fires deadlines by the system's time, until the clock is dropped.
    fn drive_in_thread(&self) {
        while let Some(clock) = self.clock.upgrade() {
            let Some(next) = clock.timers.fire(clock.ticks()) else { continue };
            let left = next.saturating_sub(clock.ticks());
            // A waker that parked this thread may have consumed the unpark of an alarm. No user code runs from here on.
            if clock.timers.sleeps_until() < next {
                continue;
            }
            drop(clock);
            match u64::try_from(left) {
                Ok(left) if next < i64::MAX => std::thread::park_timeout(Duration::from_nanos(left)),
                Ok(_) => std::thread::park(),
                Err(_) => {}
            }
        }
    }
}

/// Fires deadlines by tokio's time, until the clock is dropped.
async fn drive(guard: HandOver) {
    let driver = &guard.0;
    while let Some(clock) = driver.clock.upgrade() {
        let Some(next) = clock.timers.fire(clock.ticks()) else { continue };
        drop(clock);
        let changed = driver.changed.notified();
        if next == i64::MAX {
            changed.await;
        } else {
            let until = tokio::time::Instant::from_std(instant_of(next));
            // In both cases the queue is checked again.
            let _elapsed = tokio::time::timeout_at(until, changed).await;
        }
    }
}

/// Starts a thread as the driver if the task is dropped before the clock. In this case the runtime was shut down, and there may
/// be waiters on other runtimes and threads.
struct HandOver(Arc<Driver>);

impl Drop for HandOver {
    fn drop(&mut self) {
        if self.0.clock.strong_count() > 0 {
            let mut runs = self.0.runs();
            Driver::start_thread(&self.0, &mut runs);
        }
    }
}
