//! A TCP stream that is served and watched at the same time.

use std::{
    io::{self, ErrorKind, IoSlice, Read as _},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{self, Poll, ready},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use super::peer::{Going, Peer};

/// A [`TcpStream`] that is [watched](super::watch): it reads and writes as that does. Meant for one task, as a connection is.
#[derive(Debug)]
pub struct WatchedStream {
    stream: Arc<TcpStream>,
    peer: Peer,
}

impl WatchedStream {
    pub(super) fn new(stream: Arc<TcpStream>, peer: Peer) -> Self {
        WatchedStream { stream, peer }
    }

    /// The stream itself, for its addresses and options.
    pub fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut drained = None;
        let read = self.stream.try_io(Interest::READABLE, || {
            let length = buffer.len();
            let read = (&*SockRef::from(&*self.stream)).read(buffer)?;
            if 0 < read && read < length && cfg!(any(target_os = "linux", target_os = "android")) {
                // The system has no more, and says so when it has. Known now, that saves asking again before each wait, as
                // it does in tokio's own reads.
                drained = Some(read);
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(read)
        });
        drained.map_or(read, Ok)
    }

    /// Writes as soon as the socket takes something.
    fn poll_try(
        &self,
        task: &mut task::Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Poll::Ready(ready) = self.stream.poll_write_ready(task) else {
                self.peer.takes_nothing();
                return Poll::Pending;
            };
            ready?;
            match write(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => {
                    self.peer.takes();
                    return Poll::Ready(written.inspect_err(|_| self.peer.goes(Going::Gone)));
                }
            }
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(self: Pin<&mut Self>, task: &mut task::Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(task))?;
            let unfilled = buffer.initialize_unfilled();
            let wanted = unfilled.len();
            match self.try_read(unfilled) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.peer.goes(Going::Gone);
                    return Poll::Ready(Err(error));
                }
                Ok(read) => {
                    if read == 0 && wanted > 0 {
                        self.peer.goes(Going::Closed);
                    }
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, task: &mut task::Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_try(task, |stream| stream.try_write(buffer))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(task, |stream| stream.try_write_vectored(buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        // A socket has no buffer of its own that could be flushed.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.stream).shutdown(Shutdown::Write) {
            // The client was faster.
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}
