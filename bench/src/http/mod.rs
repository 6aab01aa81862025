//! Servers in separate processes and the load on them, for the rows about requests and connections.
//!
//! A server has one core and the load another, so that the figures show only the cost of the server. On a machine with one core,
//! they share the core.

mod clients;
mod connection;
mod grpc;
mod grpc_load;
mod load;
mod process;
mod servers;
mod waiting;

use std::io;
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::runtime;

pub(crate) use clients::{disconnect_at_once, finish_at_once};
pub(crate) use grpc_load::GrpcLoad;
pub(crate) use load::Load;
pub(crate) use process::Server;
pub(crate) use servers::{Side, serve};

/// One of the two cores.
#[derive(Clone, Copy, Debug)]
enum Core {
    Servers,
    Loads,
}

impl Core {
    /// Confines this thread, and the processes that it starts, to the core. Does nothing without two cores or on systems other than
    /// Linux.
    #[cfg(target_os = "linux")]
    fn confine(self) {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

        let Ok(allowed) = sched_getaffinity(None) else { return };
        let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        if let (Some(first), Some(second)) = (cores.next(), cores.next()) {
            let mut one = CpuSet::new();
            one.set(match self {
                Core::Servers => first,
                Core::Loads => second,
            });
            // Some sandboxes refuse this call, and then refuse it for all sides.
            let _ = sched_setaffinity(None, &one);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn confine(self) {}
}

/// Runs `work` on this thread with one core. The processes that it starts share that core.
#[cfg(target_os = "linux")]
pub(crate) fn on_one_core<T>(work: impl FnOnce() -> T) -> T {
    let before = rustix::thread::sched_getaffinity(None);
    Core::Loads.confine();
    let output = work();
    if let Ok(before) = before {
        let _ = rustix::thread::sched_setaffinity(None, &before);
    }
    output
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn on_one_core<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Runs `work` in a new thread on the core of the load.
fn on_load_core<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let run = || {
        Core::Loads.confine();
        work()
    };
    thread::scope(|scope| scope.spawn(run).join().expect("the load does not panic"))
}

fn load_runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_all().build().expect("a runtime without threads can be built")
}

/// Raises this process's limit of open files as far as the system allows. Returns the limit.
#[cfg(unix)]
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If this fails, the limit read below is the old one.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(not(unix))]
pub(crate) fn raise_open_files() -> u64 {
    u64::MAX
}

/// Returns the nanoseconds since the Unix epoch. The load and the servers share this clock.
fn unix_nanos() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

fn error(message: impl Into<String>) -> io::Error {
    io::Error::other(message.into())
}
