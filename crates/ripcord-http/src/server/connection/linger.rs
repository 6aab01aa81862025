//! Closing a connection without losing the last response.
//!
//! If a socket is closed with unread data, the system sends a reset. A client that receives a reset may not read the response
//! that came before it. So the server closes its sending half, and reads and drops the remaining data of the client. It closes
//! the connection when the client has closed it, or has sent nothing for a while.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{self, Poll, ready},
    time::{Duration, Instant},
};

use ripcord::{Context, DoneOwned};
use tokio::net::TcpStream;

/// The maximum time to wait for a client that sends nothing.
const QUIET: Duration = Duration::from_secs(1);
/// The maximum time to read from a client in total.
const TOTAL: Duration = Duration::from_secs(10);
const BUFFER: usize = 16 << 10;

/// The state of reading and dropping the client's remaining data after the last response.
#[derive(Debug)]
pub(super) struct Linger {
    /// A context that provides the time and is never canceled.
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

    /// Returns ready when the connection may be closed.
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

    /// Drops a part of the received data. Returns whether the client may send more.
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

/// Returns whether the socket has received data that was not read.
pub(crate) fn has_unread(stream: &TcpStream) -> io::Result<bool> {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    match socket2::SockRef::from(stream).peek(&mut byte) {
        Ok(read) => Ok(read > 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
