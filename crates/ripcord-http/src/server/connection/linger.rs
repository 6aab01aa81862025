//! Closing a connection without losing the last answer.
//!
//! A system that closes a socket with data unread sends a reset, and a client that receives a reset may not read the answer that
//! came before it. So the server half-closes, reads and drops what the client still sends, and closes when the client has closed, or
//! has been quiet for a while.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{self, Poll, ready},
    time::{Duration, Instant},
};

use ripcord::{Context, DoneOwned};
use tokio::net::TcpStream;

/// How long to wait for a client that sends nothing.
const QUIET: Duration = Duration::from_secs(1);
/// How long to read from a client in all.
const TOTAL: Duration = Duration::from_secs(10);
const BUFFER: usize = 16 << 10;

/// What the client still sends after the last answer, being dropped.
#[derive(Debug)]
pub(super) struct Linger {
    /// Counts time, and is not canceled.
    clock: Context,
    end: Instant,
    read_at: Instant,
    quiet: Option<DoneOwned>,
    buffer: Box<[u8; BUFFER]>,
}

impl Linger {
    pub(super) fn new(clock: Context) -> Self {
        let now = clock.clock().now();
        Linger { clock, end: now + TOTAL, read_at: now, quiet: None, buffer: Box::new([0; BUFFER]) }
    }

    /// Ready when the connection may be closed.
    pub(super) fn poll(&mut self, stream: &TcpStream, task: &mut task::Context<'_>) -> Poll<()> {
        loop {
            let Poll::Ready(is_open) = self.poll_read(stream, task) else {
                return self.poll_quiet(task);
            };
            let now = self.clock.clock().now();
            if !is_open || now >= self.end {
                return Poll::Ready(());
            }
            self.read_at = now;
        }
    }

    /// Drops some of what has come. Ready with whether the client may send more.
    fn poll_read(&mut self, stream: &TcpStream, task: &mut task::Context<'_>) -> Poll<bool> {
        loop {
            if ready!(stream.poll_read_ready(task)).is_err() {
                return Poll::Ready(false);
            }
            match stream.try_read(&mut self.buffer[..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(matches!(read, Ok(1..))),
            }
        }
    }

    fn poll_quiet(&mut self, task: &mut task::Context<'_>) -> Poll<()> {
        loop {
            let due = self.end.min(self.read_at + QUIET);
            let quiet = self.quiet.get_or_insert_with(|| self.clock.with_deadline(due).done_owned());
            ready!(Pin::new(quiet).poll(task));
            self.quiet = None;
            if self.clock.clock().now() >= due {
                return Poll::Ready(());
            }
        }
    }
}

/// Returns whether something has come that was not read.
pub(crate) fn has_unread(stream: &TcpStream) -> io::Result<bool> {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket2::SockRef::from(stream).peek(&mut byte) {
        Ok(read) => Ok(read > 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
