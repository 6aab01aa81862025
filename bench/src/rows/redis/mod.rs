//! The rows over Redis. Each row starts a server of its own on a loopback port, as the tests of ripcord-redis do.

mod cache;
mod limiter;
mod queue;
#[path = "../../../../crates/ripcord-redis/tests/redis/server.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod server;

use crate::harness::{Figure, Measured};
use crate::report::{Line, Rival, Target};
use server::Server;

pub(super) use cache::hit;
pub(super) use limiter::wait;
pub(super) use queue::jobs;

/// Starts a server that keeps its data in memory: the disk is not part of a comparison. Returns `None` without redis-server.
fn start() -> Option<Server> {
    server::is_installed().then(|| Server::with(&["--appendonly", "no"]))
}

/// Returns the line of a row that needs redis-server.
fn not_run(row: &'static str, what: impl Into<String>, rival: &'static str, target: Target) -> Line {
    let rival = Rival { name: rival, missing: Some("redis-server is not installed".to_owned()) };
    Line::time(row, what, Measured::new(Figure::default(), Figure::default()), rival, target)
}
