//! Streams of bytes that end with a context: streams of tokio's traits, and std's sockets on threads.

// rustdoc lists the methods of `Context` in this order.
#[cfg(feature = "tokio")]
mod stream;

mod blocking;

pub use blocking::{BlockingIo, BlockingStream};
#[cfg(feature = "tokio")]
pub use stream::Io;
