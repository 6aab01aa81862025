//! A socket of the standard library under a context.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::after_func::AfterFunc;
use crate::context::Context;

/// A socket that blocks its thread, and that is shut down when a context ends. Returned by [`Context::io_blocking`].
///
/// # Errors
///
/// Once the context has ended, each read, write and flush returns the context's error as an [`io::Error`]: of the kind `TimedOut` for
/// a deadline and `Other` for a cancel. [`Error::find_in`](crate::Error::find_in) returns the context's error.
pub struct BlockingIo<S> {
    ctx: Context,
    stream: Arc<S>,
    /// Shuts the socket down at the end of the context.
    shutting_down: AfterFunc,
}

/// A socket that can be used with [`Context::io_blocking`]: std's `TcpStream` and `UnixStream`.
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
    /// Returns a blocking socket whose reads and writes end with this context. `Context::io` for threads.
    ///
    /// At the end of the context the socket is shut down, so that a read or a write that blocks another thread returns at once,
    /// as does each later one. The connection cannot be used after that. Dropping the returned value before the end closes the socket
    /// and leaves nothing behind.
    ///
    /// Each transferred byte counts as [`progress`](Context::progress), for [`with_idle_timeout`](Context::with_idle_timeout).
    ///
    /// To connect, pass [`remaining`](Context::remaining) to [`TcpStream::connect_timeout`](std::net::TcpStream::connect_timeout).
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// use ripcord::{Context, Error};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut server, _) = listener.accept()?;
    ///
    /// let ctx = Context::background().with_timeout(Duration::from_millis(20));
    /// let mut client = ctx.io_blocking(client);
    /// client.write_all(b"ping")?;
    /// server.read_exact(&mut [0; 4])?;
    ///
    /// // The server does not answer.
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
    /// Returns the context that ends the reads and writes.
    pub fn context(&self) -> &Context {
        &self.ctx
    }

    /// Returns the socket. Its own methods fail after the end of the context, with errors that do not name the context.
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

    /// Does nothing but check the context: a socket has no buffer of its own.
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
