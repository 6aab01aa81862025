//! Reads processes from `/proc`.

use std::fs;
use std::io::{self, Read as _};

use rustix::io::Errno;
use rustix::process::{Pid, getpid};

/// The state of one process at the time of the read.
#[derive(Clone, Debug)]
pub(super) struct Stat {
    pub(super) pid: Pid,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// The start of the process, in ticks since boot. Process IDs are reused, so a process is identified by its ID and its start.
    pub(super) start: u64,
    /// Whether the process has exited, and waits for its parent to read its status.
    pub(super) is_zombie: bool,
    pub(super) name: String,
}

impl Stat {
    /// Reads one process. Returns `None` if no process has this ID.
    pub(super) fn read(pid: Pid) -> Option<Stat> {
        let mut buffer = Vec::with_capacity(512);
        read(pid, &mut buffer)
    }
}

/// Reads all processes.
///
/// # Errors
///
/// Returns an error if `/proc` is not mounted, or if it shows another PID namespace, whose process IDs mean other processes here.
pub(super) fn all() -> io::Result<Vec<Stat>> {
    check()?;
    let mut all = Vec::new();
    let mut buffer = Vec::with_capacity(512);
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        // A process may exit before it is read.
        all.extend(name.to_str().and_then(number).and_then(|pid| read(pid, &mut buffer)));
    }
    Ok(all)
}

/// Reads the children of this process, including children that have exited and are not reaped.
///
/// # Errors
///
/// Returns the errors of [`all`], and an error if the kernel was built without these lists.
pub(super) fn own_children() -> io::Result<Vec<Pid>> {
    check()?;
    let mut children = Vec::new();
    // A child belongs to the thread that started it. An orphan belongs to the first thread.
    for thread in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(thread?.path().join("children")) {
            Ok(list) => children.extend(list.split_ascii_whitespace().filter_map(number)),
            // A thread that has exited has passed its children to another thread.
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

/// Checks that the process IDs in `/proc` belong to the PID namespace of this process.
fn check() -> io::Result<()> {
    let itself = fs::read_link("/proc/self")?;
    match itself.to_str().and_then(number) == Some(getpid()) {
        true => Ok(()),
        false => Err(io::Error::other("/proc shows another PID namespace")),
    }
}

/// Returns whether a process was started with this entry in this variable. Returns `false` if the environment cannot be read.
pub(super) fn has_variable(pid: Pid, name: &str, has: impl Fn(&[u8]) -> bool) -> bool {
    let Ok(variables) = fs::read(format!("/proc/{}/environ", pid.as_raw_pid())) else { return false };
    let mut variables = variables.split(|byte| *byte == 0);
    variables.any(|variable| {
        variable.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")).is_some_and(&has)
    })
}

fn number(name: &str) -> Option<Pid> {
    Pid::from_raw(name.parse().ok()?)
}

fn read(pid: Pid, buffer: &mut Vec<u8>) -> Option<Stat> {
    buffer.clear();
    let mut file = fs::File::open(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
    file.read_to_end(buffer).ok()?;
    parse(pid, buffer)
}

/// Parses `PID (NAME) STATE PARENT GROUP ..`. The name may contain spaces and parentheses.
fn parse(pid: Pid, line: &[u8]) -> Option<Stat> {
    let (open, close) = (line.iter().position(|byte| *byte == b'(')?, line.iter().rposition(|byte| *byte == b')')?);
    let name = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
    let fields: Vec<&str> = str::from_utf8(line.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
    // proc(5) counts from 1, and the state is number 3.
    let field = |number: usize| fields.get(number - 3).copied();
    let threads: i64 = field(20)?.parse().ok()?;
    Some(Stat {
        pid,
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        start: field(22)?.parse().ok()?,
        // If a zombie has other threads, only its main thread has exited.
        is_zombie: matches!(field(3)?, "Z" | "X") && threads <= 1,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_parentheses_and_spaces_is_parsed() {
        let line = b"42 (a) S (b) R 7 8 9 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 2 3\n";
        let stat = parse(Pid::INIT, line).expect("it is well formed");
        assert_eq!((stat.name.as_str(), stat.parent, stat.group, stat.start), ("a) S (b", 7, 8, 12345));
        assert!(!stat.is_zombie);
    }

    #[test]
    fn exited_main_thread_with_other_threads_is_no_zombie() {
        let line = |threads| format!("42 (x) Z 7 8 9 0 -1 0 1 0 0 0 0 0 0 0 20 0 {threads} 0 5 1 2 3\n");
        assert!(parse(Pid::INIT, line(1).as_bytes()).unwrap().is_zombie);
        assert!(!parse(Pid::INIT, line(2).as_bytes()).unwrap().is_zombie);
    }

    #[test]
    fn own_process_is_found() {
        let all = all().expect("/proc is mounted");
        assert!(all.iter().any(|stat| stat.pid == getpid() && !stat.is_zombie));
    }
}
