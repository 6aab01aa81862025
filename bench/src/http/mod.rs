//! Servers in processes of their own and the load on them, for the rows that are about requests.
//!
//! Each server has one core and the load another, so that what is compared is what a request costs the server, and never
//! what the load takes from it. Where there are no two cores to be had they share.

mod load;
mod process;
mod servers;

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
    /// Confines this thread to the core, and with it whatever process it starts. Without two cores it does nothing.
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
            // Refused, as some sandboxes do, it is the same for both sides.
            let _ = sched_setaffinity(None, &one);
        }
    }

    /// Other systems leave a thread where they like, for both sides.
    #[cfg(not(target_os = "linux"))]
    fn confine(self) {}
}
