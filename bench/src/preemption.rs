//! Telling a slow call from a call during which the scheduler gave the core to somebody else.

use std::fs;
use std::path::Path;

/// How often a thread, or all of them, have lost their core without asking. A thread that blocks
/// gives it up of its own accord, which is not counted. Known on Linux only; elsewhere nothing ever
/// happens.
#[derive(Debug)]
pub(crate) struct Preemptions {
    count: fn() -> Option<u64>,
    seen: Option<u64>,
}

impl Preemptions {
    pub(crate) fn of_this_thread() -> Self {
        Preemptions::counted_by(|| of_thread(Path::new("/proc/thread-self")))
    }

    /// Of all threads of this program, which should stay the same ones.
    pub(crate) fn of_all_threads() -> Self {
        Preemptions::counted_by(|| {
            let threads = fs::read_dir("/proc/self/task").ok()?;
            threads.map(|thread| of_thread(&thread.ok()?.path())).sum()
        })
    }

    fn counted_by(count: fn() -> Option<u64>) -> Self {
        Preemptions { count, seen: count() }
    }

    /// Whether there was one since the last time this was asked.
    pub(crate) fn happened(&mut self) -> bool {
        let before = self.seen;
        self.seen = (self.count)();
        self.seen != before
    }
}

fn of_thread(directory: &Path) -> Option<u64> {
    let status = fs::read_to_string(directory.join("status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:")?.trim().parse().ok())
}
