//! What clients may take of the server.

use std::time::Duration;

/// Limits on connections. Use [`Default`] for sane ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most connections that are open at a time. Further clients wait in the listener's queue. Default: 16,384.
    pub max_connections: u32,
    /// The most bytes of a request's head. A larger one is answered with 431. hyper allows no less than 8,192. Default: 131,072.
    pub max_head: u32,
    /// How long a client may take to send a request's head, or nothing at all after it has connected. Default: 30 seconds.
    pub head_timeout: Duration,
    /// How long a connection may stay open between two requests. Default: 75 seconds, because nginx keeps connections for 60 and
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
