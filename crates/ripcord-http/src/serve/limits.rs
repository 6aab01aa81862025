//! Limits on connections.

use std::time::Duration;

/// Limits on the connections of a server. Passed to [`Serve::limits`](crate::Serve::limits). The default limits suit most services.
///
/// A timeout of zero closes a connection as soon as the server waits for its client. [`Duration::MAX`] sets no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of open connections. Further clients wait in the queue of the listener. Default: 16,384.
    pub max_connections: u32,
    /// Maximum size of the head of a request, in bytes. A limit below 8,192 counts as 8,192. The response to a larger head has
    /// status 431. Default: 131,072.
    pub max_head: u32,
    /// Maximum time for a client to send the head of a request. For the first request, the time counts from the start of the
    /// connection. When the time is over, the connection is closed. Default: 30 seconds.
    pub head_timeout: Duration,
    /// Maximum time that a connection stays open between two requests. Default: 75 seconds.
    ///
    /// nginx closes its idle connections to a server after 60 seconds. The default is longer, so that nginx closes first and does
    /// not send a request on a connection that the server is closing.
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
