//! Helpers of the tests. Each wait has a time limit, so that no test hangs.
#![allow(dead_code, reason = "not every test uses everything")]

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use ripcord_process::Command;

/// The time limit of each wait. No test waits until it expires.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Returns the output of a future, which must be ready within the limit.
pub(crate) async fn bounded<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LIMIT, future).await.expect("it takes too long")
}

/// Waits until `is_true` returns `true`, which must happen within the limit.
#[track_caller]
pub(crate) fn until(is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < LIMIT, "it takes too long");
        // Other processes cannot wake this thread, and without a pause it would take the processor from them.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a process is gone.
pub(crate) async fn gone(pid: u32) {
    while !is_gone(pid) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns a shell that runs a script.
pub(crate) fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Returns whether a process has ended, and is reaped if this process is its parent.
pub(crate) fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|(state, parent)| state == "Z" && parent != std::process::id())
}

/// Returns the state of a process and its parent.
pub(crate) fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_ascii_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// Returns the numbers in a text.
pub(crate) fn pids(text: &[u8]) -> impl Iterator<Item = u32> {
    let text = String::from_utf8(text.to_vec()).expect("the output is text");
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>().into_iter()
}

/// Returns the number of open descriptors of this process.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the number of children of this process that have exited and are not reaped.
pub(crate) fn zombies() -> usize {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    pids.filter_map(stat).filter(|(state, parent)| state == "Z" && *parent == std::process::id()).count()
}

/// A directory of one test, removed at its end.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(test: &str) -> Directory {
        let path = env::temp_dir().join(format!("ripcord-process-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
