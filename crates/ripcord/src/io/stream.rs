//! A stream of tokio's I/O traits under a context.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use pin_project_lite::pin_project;
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

use crate::context::Context;
use crate::future::DoneOwned;

pin_project! {
    /// An async stream whose reads and writes fail when a context ends. [`Context::io`] returns it.
    ///
    /// `Io` implements tokio's [`AsyncRead`], [`AsyncBufRead`] and [`AsyncWrite`], each of them if the stream `S`
    /// implements the same trait.
    ///
    /// # Errors
    ///
    /// After the context has ended, each read, write, flush and shutdown returns an [`io::Error`] that contains the context's
    /// error. Its kind is [`TimedOut`](io::ErrorKind::TimedOut) for a deadline or an idle timeout, and
    /// [`Other`](io::ErrorKind::Other) for a cancel. [`Error::find_in`](crate::Error::find_in) returns the context's error.
    ///
    /// A read fails after the context has ended even if data is ready. The data stays in the stream, which
    /// [`into_inner`](Io::into_inner) returns.
    ///
    /// # Cancel safety
    ///
    /// A read or write is as cancel safe as the same operation of the stream. A `read` or `write` that returns the context's
    /// error has transferred no bytes. A `read_exact` or `write_all` may have transferred some of its bytes.
    pub struct Io<S> {
        #[pin]
        stream: S,
        // There are two futures, because two tasks may poll the halves of a stream, each with its own waker.
        reading: DoneOwned,
        writing: DoneOwned,
    }
}

impl Context {
    /// Wraps an async stream, so that its reads and writes fail when this context ends. `stream` is any type that implements
    /// tokio's `AsyncRead` or `AsyncWrite`.
    ///
    /// Each read or write that transfers bytes records [`progress`](Context::progress), so an
    /// [idle timeout](Context::with_idle_timeout) ends the context only when the transfer stalls.
    ///
    /// The end of the context does not close the stream. To read or write after the end, for example to send a last message, use
    /// the stream itself ([`Io::get_mut`], [`Io::into_inner`]), or call this method on a [`shielded`](Context::shielded) context.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    ///
    /// use ripcord::{Clock, Context, Error};
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// let (client, mut server) = tokio::io::duplex(64);
    /// let (clock, time) = Clock::manual();
    /// let (ctx, _idle) = Context::background().with_clock(clock).with_idle_timeout(Duration::from_secs(30));
    /// let mut client = ctx.io(client);
    /// server.write_all(b"hello").await?;
    /// let mut greeting = [0; 5];
    /// client.read_exact(&mut greeting).await?;
    ///
    /// time.advance(Duration::from_secs(30)); // the server sends nothing more
    /// let error = client.read_u8().await.unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    /// assert!(Error::find_in(&error).unwrap().origin().is_idle_timeout());
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    ///
    /// The returned stream works with every function that takes a stream, for example with tokio's `copy`:
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use ripcord::Context;
    ///
    /// let (ctx, cancel) = Context::background().with_cancel();
    /// let mut file = ctx.io(&b"contents"[..]);
    /// let mut upload = ctx.io(Vec::new());
    /// assert_eq!(tokio::io::copy(&mut file, &mut upload).await?, 8);
    /// cancel.cancel();
    /// assert!(tokio::io::copy(&mut file, &mut upload).await.is_err());
    /// # std::io::Result::Ok(()) }).unwrap();
    /// ```
    pub fn io<S>(&self, stream: S) -> Io<S> {
        Io { stream, reading: self.done_owned(), writing: self.done_owned() }
    }
}

impl<S> Io<S> {
    /// Returns the context whose end makes the reads and writes fail.
    pub fn context(&self) -> &Context {
        self.reading.context()
    }

    /// Returns a reference to the original stream, whose methods ignore the context.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Returns a mutable reference to the original stream, whose methods ignore the context.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns a pinned mutable reference to the original stream, whose methods ignore the context.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut S> {
        self.project().stream
    }

    /// Returns the original stream, whose methods ignore the context.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

/// Polls an operation of a stream, unless the context of `done` has ended.
///
/// No wakeup is lost: if the operation is pending, the task's waker is registered with the stream and with the context.
fn poll_until_end<T>(
    done: &mut DoneOwned,
    task: &mut Task<'_>,
    operation: impl FnOnce(&mut Task<'_>) -> Poll<io::Result<T>>,
) -> Poll<io::Result<T>> {
    done.context().check()?;
    match operation(task) {
        Poll::Pending => Pin::new(done).poll(task).map(|end| Err(end.into())),
        ready => ready,
    }
}

impl<S: AsyncRead> AsyncRead for Io<S> {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        ready!(poll_until_end(this.reading, task, |task| this.stream.poll_read(task, buf)))?;
        if buf.filled().len() > before {
            this.reading.context().progress();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncBufRead> AsyncBufRead for Io<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.project();
        poll_until_end(this.reading, task, |task| this.stream.poll_fill_buf(task))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        let this = self.project();
        if amount > 0 {
            this.reading.context().progress();
        }
        this.stream.consume(amount);
    }
}

impl<S: AsyncWrite> Io<S> {
    fn poll_send(
        self: Pin<&mut Self>,
        task: &mut Task<'_>,
        send: impl FnOnce(Pin<&mut S>, &mut Task<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let sent = ready!(poll_until_end(this.writing, task, |task| send(this.stream, task)))?;
        if sent > 0 {
            this.writing.context().progress();
        }
        Poll::Ready(Ok(sent))
    }
}

impl<S: AsyncWrite> AsyncWrite for Io<S> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(task, |stream, task| stream.poll_write(task, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Task<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(task, |stream, task| stream.poll_write_vectored(task, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        poll_until_end(this.writing, task, |task| this.stream.poll_flush(task))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        poll_until_end(this.writing, task, |task| this.stream.poll_shutdown(task))
    }
}

impl<S: fmt::Debug> fmt::Debug for Io<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("stream", &self.stream).field("context", self.context()).finish()
    }
}
