//! The statistics of a client.

use std::time::Duration;

/// Statistics of a [`Client`](crate::Client) and its clones. Returned by [`Client::stats`](crate::Client::stats). Counters only go
/// up. Gauges are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Whether Redis is available, as [`Client::is_available`](crate::Client::is_available) returns it: a gauge.
    pub is_available: bool,
    /// The time until the next attempt to connect, zero during an attempt. `None` while Redis is available.
    pub retry_after: Option<Duration>,
    /// The number of clients with the same [prefix](crate::ClientBuilder::prefix), including this client: a gauge. This is the
    /// largest number that the last five answered heartbeats have counted.
    pub peers: usize,
    /// Commands sent.
    pub commands: u64,
    /// Commands that failed because the connection was lost, the answer took longer than the
    /// [`timeout`](crate::ClientBuilder::timeout), or Redis answered that it cannot serve commands.
    pub failures: u64,
    /// Connections for commands that were opened after the first connection.
    pub reconnects: u64,
}
