//! Detects calls during which the scheduler gave the core to another program.

use std::fs;
use std::path::Path;

/// Counts involuntary context switches of one thread, or of all threads. A thread that blocks gives up its core voluntarily and
/// is not counted. On systems other than Linux the count stays at zero.
#[derive(Debug)]
pub(crate) struct Preemptions {
    count: fn() -> Option<u64>,
    seen: Option<u64>,
}

impl Preemptions {
    pub(crate) fn of_this_thread() -> Self {
        Preemptions::counted_by(|| of_thread(Path::new("/proc/thread-self")))
    }

    /// Counts the switches of all threads of this process. Threads that start or end meanwhile distort the count.
    pub(crate) fn of_all_threads() -> Self {
        Preemptions::counted_by(|| {
            let threads = fs::read_dir("/proc/self/task").ok()?;
            threads.map(|thread| of_thread(&thread.ok()?.path())).sum()
        })
    }

    fn counted_by(count: fn() -> Option<u64>) -> Self {
        Preemptions { count, seen: count() }
    }

    /// Returns whether a switch has happened since the last call or the creation.
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
