//! A load over persistent connections, which makes as many requests as a server answers.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::connection::Connection;
use super::{load_runtime, on_load_core};
use crate::timing::nanoseconds;

/// Clients of a server. Their connections stay open, so that memory and wake-ups are the same in each round.
#[derive(Debug)]
pub(crate) struct Load {
    address: SocketAddr,
    runtime: Runtime,
    connections: Vec<Connection>,
}

impl Load {
    /// Opens the given number of connections.
    ///
    /// # Panics
    ///
    /// Panics if a connection fails, as does [`Load::ask_for`].
    pub(super) fn open(address: SocketAddr, connections: usize) -> Self {
        let mut load = Load { address, runtime: load_runtime(), connections: Vec::new() };
        load.connections = load.run(async |_| {
            let mut open = Vec::with_capacity(connections);
            for _ in 0..connections {
                open.push(Connection::open(address).await?);
            }
            Ok(open)
        });
        load
    }

    /// Makes requests on all connections at once for the given time. Each connection has one request in flight.
    ///
    /// # Panics
    ///
    /// Panics if an answer is not a complete 200.
    pub(crate) fn ask_for(&mut self, time: Duration) -> Answers {
        let (connections, answers) = self.run(async |connections| ask_for(connections, time).await);
        self.connections = connections;
        answers
    }

    fn run<T: Send>(&mut self, work: impl AsyncFnOnce(Vec<Connection>) -> io::Result<T> + Send) -> T {
        let Load { address, runtime, connections } = self;
        let connections = std::mem::take(connections);
        on_load_core(|| runtime.block_on(work(connections)))
            .unwrap_or_else(|error| panic!("the load on {address} failed: {error}"))
    }
}

/// The answers to a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    count: u64,
    taken: Duration,
}

impl Answers {
    pub(super) fn new(count: u64, taken: Duration) -> Self {
        Answers { count, taken }
    }

    /// Returns the time per answer, in nanoseconds.
    pub(crate) fn time_per_request(self) -> f64 {
        self.share_of(self.taken)
    }

    /// Returns `time` divided by the number of answers, in nanoseconds.
    pub(crate) fn share_of(self, time: Duration) -> f64 {
        nanoseconds(time) / self.count as f64
    }
}

async fn ask_for(connections: Vec<Connection>, time: Duration) -> io::Result<(Vec<Connection>, Answers)> {
    let start = Instant::now();
    let end = start + time;
    let mut tasks: JoinSet<io::Result<(Connection, u64)>> = JoinSet::new();
    for mut connection in connections {
        tasks.spawn(async move {
            let mut answers = 0;
            while Instant::now() < end {
                connection.ask().await?;
                answers += 1;
            }
            Ok((connection, answers))
        });
    }
    let (mut connections, mut count) = (Vec::new(), 0);
    while let Some(task) = tasks.join_next().await {
        let (connection, answered) = task.expect("a connection's task does not panic")?;
        connections.push(connection);
        count += answered;
    }
    Ok((connections, Answers::new(count, start.elapsed())))
}
