//! Streams of bytes that end with a context: streams of tokio's traits, and std's sockets on threads.

mod blocking;
#[cfg(feature = "tokio")]
mod stream;

pub use blocking::{BlockingIo, BlockingStream};
#[cfg(feature = "tokio")]
pub use stream::Io;
