//! A socket of the standard library under a context.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::after_func::AfterFunc;
use crate::context::Context;

/// A blocking socket that is shut down when a context ends. [`Context::io_blocking`] returns it.
///
/// Read and write with the traits [`Read`] and [`Write`], which block the thread.
///
/// # Errors
///
/// After the context has ended, each read, write and flush returns an [`io::Error`] that contains the context's error. Its kind
/// is [`TimedOut`](io::ErrorKind::TimedOut) for a deadline or an idle timeout, and [`Other`](io::ErrorKind::Other) for a cancel.
/// [`Error::find_in`](crate::Error::find_in) returns the context's error.
pub struct BlockingIo<S> {
    ctx: Context,
    stream: Arc<S>,
    /// Shuts the socket down at the end of the context.
    shutting_down: AfterFunc,
}

/// Marks the sockets that [`Context::io_blocking`] accepts: `TcpStream` and `UnixStream` of the standard library. Other crates
/// cannot implement the trait.
pub trait BlockingStream: private::Socket {}

mod private {
    use std::io;

    pub trait Socket: Send + Sync + 'static {
        fn receive(&self, buf: &mut [u8]) -> io::Result<usize>;

        fn send(&self, buf: &[u8]) -> io::Result<usize>;

        /// Ends both directions, so that a read or write in progress on another thread returns.
        fn shut_down(&self) -> io::Result<()>;
    }
}

macro_rules! socket {
    ($stream:ty) => {
        impl BlockingStream for $stream {}

        impl private::Socket for $stream {
            fn receive(&self, buf: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buf)
            }

            fn send(&self, buf: &[u8]) -> io::Result<usize> {
                (&*self).write(buf)
            }

            fn shut_down(&self) -> io::Result<()> {
                self.shutdown(std::net::Shutdown::Both)
            }
        }
    };
}

socket!(std::net::TcpStream);
#[cfg(unix)]
socket!(std::os::unix::net::UnixStream);

impl Context {
    /// Wraps a blocking socket, so that its reads and writes fail when this context ends. `Context::io` does the same for async
    /// code.
    ///
    /// `stream` is a `TcpStream` or a `UnixStream` of the standard library. When the context ends, the socket is shut down in
    /// both directions. A read or write that is blocking a thread returns immediately with an error, and each later read or
    /// write fails too. The connection cannot be used again. Dropping the returned [`BlockingIo`] closes the socket.
    ///
    /// Each read or write that transfers bytes records [`progress`](Context::progress), so an
    /// [idle timeout](Context::with_idle_timeout) ends the context only when the transfer stalls.
    ///
    /// To connect before the context's deadline, pass [`remaining`](Context::remaining) to
    /// [`TcpStream::connect_timeout`](std::net::TcpStream::connect_timeout). A cancel does not end this call.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// use ripcord::{Clock, Context, Error};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut server, _) = listener.accept()?;
    ///
    /// let (clock, time) = Clock::manual();
    /// let ctx = Context::background().with_clock(clock).with_timeout(Duration::from_secs(5));
    /// let mut client = ctx.io_blocking(client);
    /// client.write_all(b"ping")?;
    /// server.read_exact(&mut [0; 4])?;
    ///
    /// time.advance(Duration::from_secs(5)); // the server does not answer
    /// let error = client.read(&mut [0; 4]).unwrap_err();
    /// assert!(Error::find_in(&error).unwrap().is_deadline_exceeded());
    /// # std::io::Result::Ok(())
    /// ```
    pub fn io_blocking<S: BlockingStream>(&self, stream: S) -> BlockingIo<S> {
        let stream = Arc::new(stream);
        let shared = Arc::clone(&stream);
        let shutting_down = self.after_func(move || {
            // The only error is that the peer has already closed the connection.
            let _closed = shared.shut_down();
        });
        BlockingIo { ctx: self.clone(), stream, shutting_down }
    }
}

impl<S> BlockingIo<S> {
    /// Returns the context whose end makes the reads and writes fail.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// Returns a reference to the socket. After the end of the context, the socket's own methods fail too, with errors that do not
    /// contain the context's error.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    fn until_end(&self, operation: impl FnOnce(&S) -> io::Result<usize>) -> io::Result<usize> {
        self.ctx.check()?;
        match operation(&self.stream) {
            Ok(transferred @ 1..) => {
                self.ctx.progress();
                Ok(transferred)
            }
            // A shutdown of the socket looks like the end of the stream, or like an error of the socket.
            result => self.ctx.err().map_or(result, |end| Err(end.into())),
        }
    }
}

impl<S: BlockingStream> Read for BlockingIo<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.until_end(|stream| stream.receive(buf))
    }
}

impl<S: BlockingStream> Write for BlockingIo<S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.until_end(|stream| stream.send(buf))
    }

    /// Returns the context's error if the context has ended. Otherwise does nothing, because a socket has no buffer of its own.
    fn flush(&mut self) -> io::Result<()> {
        Ok(self.ctx.check()?)
    }
}

impl<S> Drop for BlockingIo<S> {
    fn drop(&mut self) {
        self.shutting_down.stop();
    }
}

impl<S: fmt::Debug> fmt::Debug for BlockingIo<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingIo").field("stream", &self.stream).field("context", &self.ctx).finish()
    }
}
