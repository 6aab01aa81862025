//! `Shutdown`: the stop request, the drain, the phases and the report.

#[path = "../common/mod.rs"]
mod common;

mod bad_input;
mod drain;
mod draining;
mod phases;
#[cfg(feature = "tokio")]
mod runtime;

use ripcord::{Report, Shutdown, block_on};

use common::within;

/// Waits for the report of a shutdown that runs on threads.
fn report_of(shutdown: &Shutdown) -> Report {
    let run = shutdown.run();
    within("the shutdown", || block_on(run))
}
