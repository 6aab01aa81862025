//! A TCP stream that is served and watched at once.

use std::{
    io::{self, ErrorKind, IoSlice},
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

use super::{
    linger::{Linger, has_unread},
    peer::{Going, Peer},
};

/// Whether the system reports later data after a read that did not fill its buffer.
const TELLS_OF_MORE: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// A [`TcpStream`] that reports disconnects and stalls of its client to a [`Watch`](super::Watch). Created by
/// [`watch`](super::watch). Pass it to hyper.
///
/// `poll_shutdown` also reads and drops data from a client that is still sending, so that the client receives the complete
/// response. This ends when the client closes the connection or sends nothing for 1 second, and after 10 seconds at the latest. Use
/// the stream from one task only, as hyper does.
#[derive(Debug)]
pub struct WatchedStream {
    stream: Arc<TcpStream>,
    peer: Peer,
    linger: Option<Box<Linger>>,
    is_shut_down: bool,
    /// Whether all data from the client was read, up to its FIN.
    is_at_end: bool,
}

impl WatchedStream {
    pub(super) fn new(stream: Arc<TcpStream>, peer: Peer) -> Self {
        WatchedStream { stream, peer, linger: None, is_shut_down: false, is_at_end: false }
    }

    /// Returns the inner stream. Use it to read addresses and set socket options.
    pub fn get_ref(&self) -> &TcpStream {
        &self.stream
    }

    fn try_read(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let mut drained = None;
        let read = self.stream.try_io(Interest::READABLE, || {
            let length = buffer.remaining();
            // A read into a slice would need zeros in the buffer, which would make the buffer's memory resident.
            let read = self.stream.try_read_buf(buffer)?;
            if 0 < read && read < length && TELLS_OF_MORE {
                // Clears the readiness now. This avoids a read that finds nothing. tokio's own reads do the same.
                drained = Some(read);
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(read)
        });
        drained.map_or(read, Ok)
    }

    /// Writes as soon as the socket accepts data.
    fn poll_try(
        &self,
        task: &mut task::Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let Poll::Ready(ready) = self.stream.poll_write_ready(task) else {
                self.peer.traffic().takes_nothing();
                return Poll::Pending;
            };
            ready?;
            match write(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => {
                    self.peer.traffic().takes();
                    return Poll::Ready(written.inspect_err(|_| self.peer.goes(Going::Gone)));
                }
            }
        }
    }

    /// Closes the sending half. Returns whether the client may still be sending.
    fn shut_down(&self) -> io::Result<bool> {
        // If the client is gone, the system has closed the socket. If the client has closed the connection, hyper drops the
        // stream after the shutdown, and the drop sends the FIN. An upgraded stream belongs to the handler, which may keep it.
        if self.peer.is_gone() || (self.is_at_end && self.peer.upgraded().is_none()) {
            return Ok(false);
        }
        match SockRef::from(&*self.stream).shutdown(Shutdown::Write) {
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
            Ok(()) => Ok(self.peer.traffic().has_unread_body() || has_unread(&self.stream).unwrap_or(false)),
        }
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        self.peer.closed();
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_wanted = buffer.remaining() > 0;
        loop {
            ready!(self.stream.poll_read_ready(task))?;
            match self.try_read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.peer.goes(Going::Gone);
                    return Poll::Ready(Err(error));
                }
                Ok(0) if is_wanted => {
                    self.is_at_end = true;
                    self.peer.goes(Going::Closed);
                    return Poll::Ready(Ok(()));
                }
                Ok(_) => {
                    self.peer.traffic().has_read();
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
        // A socket has no buffer to flush.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut_down {
            this.is_shut_down = true;
            if this.shut_down()? {
                this.peer.traffic().set_lingering(true);
                this.linger = Some(Box::new(Linger::new(this.peer.clock())));
            }
        }
        if let Some(linger) = &mut this.linger {
            ready!(linger.poll(&this.stream, task));
            this.linger = None;
            this.peer.traffic().set_lingering(false);
        }
        Poll::Ready(Ok(()))
    }
}
