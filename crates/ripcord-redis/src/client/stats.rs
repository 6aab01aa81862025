//! The statistics of a client.

use std::time::Duration;

/// Statistics of a [`Client`](crate::Client). Returned by [`Client::stats`](crate::Client::stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Whether Redis is available, as [`Client::is_available`](crate::Client::is_available) returns it: a gauge.
    pub is_available: bool,
    /// The time until the next attempt to connect, while Redis is unavailable.
    pub retry_after: Option<Duration>,
    /// The number of clients with the same prefix, including this client, as it was last seen: a gauge.
    pub peers: usize,
    /// Commands sent.
    pub commands: u64,
    /// Commands that were not answered, because the connection was lost or the answer took too long.
    pub failures: u64,
    /// Connections opened after the first.
    pub reconnects: u64,
}
