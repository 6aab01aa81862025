//! Limits on connections.

use std::time::Duration;

/// Limits on connections. The default limits suit most services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of open connections. Further clients wait in the listener's queue. Default: 16,384.
    pub max_connections: u32,
    /// Maximum size of a request's head in bytes, at least 8,192. A larger head is answered with 431. Default: 131,072.
    pub max_head: u32,
    /// Time that a client has to send a request's head, or its first byte after connecting. Default: 30 seconds.
    pub head_timeout: Duration,
    /// Time for which a connection without a request stays open. Default: 75 seconds, because nginx keeps connections for 60 and
    /// must be the one to close them.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 16_384,
            max_head: 128 << 10,
            head_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
        }
    }
}
