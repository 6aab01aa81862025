//! Streams of bytes that end with a context.

#[path = "../common/mod.rs"]
mod common;

mod blocking;
#[cfg(feature = "tokio")]
mod stream;

use ripcord::Error;

/// Returns the context's error in an I/O error, and checks the kind of the I/O error.
#[track_caller]
fn end_in(error: &std::io::Error) -> &Error {
    let end = Error::find_in(error).expect("the context has ended");
    let kind = if end.is_deadline_exceeded() { std::io::ErrorKind::TimedOut } else { std::io::ErrorKind::Other };
    assert_eq!(error.kind(), kind);
    end
}
