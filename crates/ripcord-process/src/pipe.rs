//! The pipes to and from a command. They end with the command, even if a process that cannot be ended holds the other side.

use std::future::Future as _;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};

use ripcord::{Context, DoneOwned};
use rustix::io::{Errno, ioctl_fionread, retry_on_intr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

/// The read side of a pipe from a command.
#[derive(Debug)]
pub(crate) struct Reader {
    receiver: pipe::Receiver,
    ended: Pin<Box<DoneOwned>>,
    /// The number of bytes left in the pipe. `None` until the command and its descendants have ended.
    left: Option<u64>,
}

impl Reader {
    /// Creates a reader. `ended` must end when the command and all its descendants have ended.
    pub(crate) fn new(pipe: impl Into<OwnedFd>, ended: &Context) -> io::Result<Reader> {
        let receiver = pipe::Receiver::from_owned_fd(pipe.into())?;
        Ok(Reader { receiver, ended: Box::pin(ended.done_owned()), left: None })
    }

    pub(crate) fn poll_read(&mut self, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left.is_none() && self.ended.as_mut().poll(cx).is_ready() {
            self.left = Some(ioctl_fionread(&self.receiver)?);
        }
        let Some(left) = &mut self.left else { return Pin::new(&mut self.receiver).poll_read(cx, buf) };
        let room = usize::try_from(*left).unwrap_or(usize::MAX).min(buf.remaining());
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        // Tokio's `poll_read` is also pending if the task has no budget left, or if tokio waits for the next event of the pipe. Only
        // the pipe itself says whether it is empty.
        let read = match retry_on_intr(|| rustix::io::read(&self.receiver, buf.initialize_unfilled_to(room))) {
            Ok(read) => read,
            // Another process has read the bytes.
            Err(Errno::AGAIN) => return Poll::Ready(Ok(())),
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        *left -= read as u64;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

/// The write side of a pipe to a command.
#[derive(Debug)]
pub(crate) struct Writer {
    sender: pipe::Sender,
    ended: Pin<Box<DoneOwned>>,
}

impl Writer {
    pub(crate) fn new(pipe: impl Into<OwnedFd>, ended: &Context) -> io::Result<Writer> {
        Ok(Writer { sender: pipe::Sender::from_owned_fd(pipe.into())?, ended: Box::pin(ended.done_owned()) })
    }

    pub(crate) fn poll_write(&mut self, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.sender).poll_write(cx, bytes)
    }
}

/// A pipe from the stdout or stderr of a [`Child`](crate::Child). Implements tokio's [`AsyncRead`].
///
/// The stream ends when all processes have closed the write side of the pipe, or when the command and all of its descendants have
/// ended. Bytes that were written before the end can still be read.
#[derive(Debug)]
pub struct ChildOutput(pub(crate) Reader);

impl AsyncRead for ChildOutput {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, buf)
    }
}

/// A pipe to the stdin of a [`Child`](crate::Child). Implements tokio's [`AsyncWrite`]. Dropping the pipe closes the command's
/// stdin.
///
/// A write fails with [`io::ErrorKind::BrokenPipe`] if no process can read from the pipe any more. It also fails if the command and
/// all of its descendants have ended.
#[derive(Debug)]
pub struct ChildInput(pub(crate) Writer);

impl AsyncWrite for ChildInput {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The output that [`read_both`] has read so far.
#[derive(Default)]
pub(crate) struct Captured {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Reads two pipes at the same time until both end.
pub(crate) async fn read_both(
    mut stdout: Option<ChildOutput>,
    mut stderr: Option<ChildOutput>,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut captured = Captured::default();
    std::future::poll_fn(|cx| {
        // Both pipes are polled each time, so that neither fills up while the other is read.
        let out = poll_to_end(&mut stdout, &mut captured.stdout, cx)?;
        let err = poll_to_end(&mut stderr, &mut captured.stderr, cx)?;
        ready!(out);
        ready!(err);
        Poll::Ready(Ok::<_, io::Error>(()))
    })
    .await?;
    Ok((captured.stdout, captured.stderr))
}

/// Reads until the pipe ends. Then sets `pipe` to `None`.
fn poll_to_end(pipe: &mut Option<ChildOutput>, read: &mut Vec<u8>, cx: &mut TaskContext<'_>) -> io::Result<Poll<()>> {
    const CHUNK: usize = 16 * 1024;
    while let Some(reader) = pipe {
        let start = read.len();
        read.resize(start + CHUNK, 0);
        let mut buf = ReadBuf::new(&mut read[start..]);
        let polled = reader.0.poll_read(cx, &mut buf);
        let count = buf.filled().len();
        read.truncate(start + count);
        match polled {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(())) if count > 0 => {}
            Poll::Ready(result) => {
                *pipe = None;
                result?;
            }
        }
    }
    Ok(Poll::Ready(()))
}
