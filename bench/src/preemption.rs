//! Telling a slow call from a call during which the scheduler gave the core to somebody else.

use std::fs;

/// How often this thread has lost its core without asking. A thread that blocks gives it up of its
/// own accord, which is not counted. Known on Linux only; elsewhere nothing ever happens.
#[derive(Debug)]
pub(crate) struct Preemptions {
    seen: Option<u64>,
}

impl Preemptions {
    pub(crate) fn of_this_thread() -> Self {
        Preemptions { seen: count() }
    }

    /// Whether there was one since the last time this was asked.
    pub(crate) fn happened(&mut self) -> bool {
        let before = self.seen;
        self.seen = count();
        self.seen != before
    }
}

fn count() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:")?.trim().parse().ok())
}
