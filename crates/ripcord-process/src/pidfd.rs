//! Waiting for the exit of a process.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::{self, Pid, PidfdFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Opens a process to wait for its exit.
///
/// # Panics
///
/// Panics if the runtime was built without `enable_io`.
pub(crate) fn watch(pid: Pid) -> io::Result<AsyncFd<OwnedFd>> {
    register(process::pidfd_open(pid, PidfdFlags::NONBLOCK)?)
}

/// Registers a pidfd with the runtime. It becomes readable when the process has exited.
#[expect(deprecated, reason = "its successor is unsafe, for types whose descriptor changes; here it is fixed")]
pub(crate) fn register<T: AsRawFd>(pidfd: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}
