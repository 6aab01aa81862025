//! Streams of bytes that end with a context: of tokio's traits, and of std's sockets on threads.

mod blocking;
#[cfg(feature = "tokio")]
mod stream;

pub use blocking::{BlockingIo, BlockingStream};
#[cfg(feature = "tokio")]
pub use stream::Io;
