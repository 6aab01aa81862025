//! Limits on connections.

use std::time::Duration;

/// Limits on the connections of a server. Passed to [`Serve::limits`](crate::Serve::limits). The default limits suit most services.
///
/// With a timeout of zero, a connection is closed as soon as the server has to wait for its client. [`Duration::MAX`] sets no
/// limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of open connections. Further clients wait in the queue of the listener. With 0, the server accepts no
    /// connection. Default: 16,384.
    pub max_connections: u32,
    /// Maximum size of the head of a request, in bytes. A limit below 8,192 counts as 8,192. The response to a larger head has
    /// status 431. Default: 131,072.
    pub max_head: u32,
    /// Maximum time for a client to send the head of a request (the request line and the headers). For the first request, the time
    /// counts from the start of the connection, and for later requests from the first byte. When the time is over, the connection
    /// is closed. Default: 30 seconds.
    pub head_timeout: Duration,
    /// Maximum time that a connection stays open between two requests. When the time is over, the connection is closed. Default: 75
    /// seconds.
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
