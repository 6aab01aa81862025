//! `Context::io`. The streams are polled by hand, outside of any runtime.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context as Task, Poll, Waker};

use ripcord::{Context, Io};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, duplex};

use crate::common::{MS, SEC, Wakes, manual, poll_pinned};
use crate::end_in;

/// Returns the output of a future that is ready at its first poll.
#[track_caller]
fn now<F: Future>(future: F) -> F::Output {
    match poll_pinned(pin!(future), Waker::noop()) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is pending"),
    }
}

/// Returns a stream of 4 bytes in each direction, one side of it under `ctx`.
fn connected(ctx: &Context) -> (Io<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(4);
    (ctx.io(near), far)
}

#[test]
fn bytes_pass_in_both_directions_while_the_context_lives() {
    let (mut near, mut far) = connected(&Context::background());
    now(near.write_all(b"ping")).unwrap();
    now(near.flush()).unwrap();
    let mut received = [0; 4];
    now(far.read_exact(&mut received)).unwrap();
    assert_eq!(&received, b"ping");
    now(far.write_all(b"pong")).unwrap();
    now(near.read_exact(&mut received)).unwrap();
    assert_eq!(&received, b"pong");
    now(near.shutdown()).unwrap();
    assert_eq!(now(far.read(&mut received)).unwrap(), 0);
}

#[test]
fn cancel_wakes_a_read_and_is_its_error() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (mut near, _far) = connected(&ctx);
    let wakes = Wakes::new();
    let mut buf = [0; 4];
    let mut read = pin!(near.read(&mut buf));
    assert!(poll_pinned(read.as_mut(), &wakes.waker()).is_pending());
    cancel.cancel_with("the client has gone");
    assert_eq!(wakes.count(), 1);
    let error = now(read).unwrap_err();
    assert_eq!(end_in(&error).cause().unwrap().to_string(), "the client has gone");
}

#[test]
fn deadline_wakes_a_write_into_a_full_stream_and_is_its_error() {
    let (root, time) = manual();
    let (mut near, mut far) = connected(&root.with_timeout(SEC));
    let wakes = Wakes::new();
    {
        let mut write = pin!(near.write_all(b"sixbyt"));
        assert!(poll_pinned(write.as_mut(), &wakes.waker()).is_pending());
        time.advance(SEC);
        assert_eq!(wakes.count(), 1);
        assert!(end_in(&now(write).unwrap_err()).is_deadline_exceeded());
    }
    let mut received = [0; 8];
    assert_eq!(now(far.read(&mut received)).unwrap(), 4, "what was written before the end");
}

#[test]
fn end_wins_over_data_that_is_ready_and_leaves_it_in_the_stream() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (mut near, mut far) = connected(&ctx);
    now(far.write_all(b"data")).unwrap();
    cancel.cancel();
    let mut buf = [0; 4];
    end_in(&now(near.read(&mut buf)).unwrap_err());
    end_in(&now(near.write(b"x")).unwrap_err());
    end_in(&now(near.flush()).unwrap_err());
    end_in(&now(near.shutdown()).unwrap_err());
    // The inner stream still works, for a last message.
    now(near.get_mut().write_all(b"bye")).unwrap();
    let mut stream = near.into_inner();
    now(stream.read_exact(&mut buf)).unwrap();
    assert_eq!(&buf, b"data");
    now(far.read_exact(&mut buf[..3])).unwrap();
    assert_eq!(&buf[..3], b"bye");
}

#[test]
fn both_halves_of_a_stream_are_woken_by_the_end() {
    let (ctx, cancel) = Context::background().with_cancel();
    let (near, mut far) = connected(&ctx);
    let (mut reader, mut writer) = tokio::io::split(near);
    now(writer.write_all(b"full")).unwrap();
    let (reads, writes) = (Wakes::new(), Wakes::new());
    let mut buf = [0; 1];
    let (mut read, mut write) = (pin!(reader.read(&mut buf)), pin!(writer.write(b"x")));
    assert!(poll_pinned(read.as_mut(), &reads.waker()).is_pending());
    assert!(poll_pinned(write.as_mut(), &writes.waker()).is_pending());
    cancel.cancel();
    assert_eq!((reads.count(), writes.count()), (1, 1));
    end_in(&now(read).unwrap_err());
    end_in(&now(write).unwrap_err());
    now(far.read_exact(&mut [0; 4])).unwrap();
}

#[test]
fn transfer_below_an_idle_timeout_ends_when_it_stalls() {
    let (root, time) = manual();
    let (ctx, _idle) = root.with_idle_timeout(2 * SEC);
    let (mut near, mut far) = connected(&ctx);
    let mut buf = [0; 4];
    for round in 0..6 {
        time.advance(SEC);
        match round % 3 {
            0 => {
                now(far.write_all(b"data")).unwrap();
                now(near.read_exact(&mut buf)).unwrap();
            }
            1 => {
                now(near.write_all(b"data")).unwrap();
                now(far.read_exact(&mut buf)).unwrap();
            }
            _ => {
                let parts = [io::IoSlice::new(b"da"), io::IoSlice::new(b"ta")];
                assert_eq!(now(near.write_vectored(&parts)).unwrap(), 4);
                now(far.read_exact(&mut buf)).unwrap();
            }
        }
    }
    time.advance(SEC);
    assert!(!ctx.is_done());
    // Neither the end of the stream nor a pending read is progress.
    let mut read = pin!(near.read(&mut buf));
    assert!(poll_pinned(read.as_mut(), Waker::noop()).is_pending());
    drop(far);
    time.advance(SEC);
    assert!(end_in(&now(read).unwrap_err()).origin().is_idle_timeout());
}

#[test]
fn end_of_the_stream_is_no_progress() {
    let (root, time) = manual();
    let (ctx, _idle) = root.with_idle_timeout(2 * SEC);
    let mut empty = ctx.io(&b""[..]);
    time.advance(SEC);
    assert_eq!(now(empty.read(&mut [0; 1])).unwrap(), 0);
    assert_eq!(now(empty.read_line(&mut String::new())).unwrap(), 0);
    time.advance(SEC);
    assert!(ctx.is_done());
}

#[test]
fn buffered_stream_is_read_by_lines_until_the_end() {
    let (root, time) = manual();
    let (ctx, idle) = root.with_idle_timeout(SEC);
    let (near, mut far) = duplex(64);
    let mut lines = ctx.io(BufReader::new(near)).lines();
    now(far.write_all(b"one\ntwo\n")).unwrap();
    time.advance(SEC / 2);
    assert_eq!(now(lines.next_line()).unwrap().as_deref(), Some("one"));
    assert_eq!(idle.get(), Some(time.now() + SEC), "a line is progress");
    time.advance(SEC);
    end_in(&now(lines.next_line()).unwrap_err());
}

#[test]
fn copy_of_an_endless_stream_ends() {
    let (root, time) = manual();
    let ctx = root.with_timeout(MS);
    let mut copied = 0;
    let (mut zeros, mut sink) = (ctx.io(tokio::io::repeat(0)), ctx.io(CountingSink { copied: &mut copied, time }));
    let error = now(tokio::io::copy(&mut zeros, &mut sink)).unwrap_err();
    assert!(end_in(&error).is_deadline_exceeded());
    assert!(copied > 0);
}

/// Accepts everything, and takes a tenth of a millisecond for each write.
struct CountingSink<'a> {
    copied: &'a mut usize,
    time: ripcord::ManualTime,
}

impl AsyncWrite for CountingSink<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Task<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        *self.copied += buf.len();
        self.time.advance(MS / 10);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn error_of_the_stream_is_passed_on() {
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Task<'_>, _: &mut tokio::io::ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }
    }
    let error = now(Context::background().io(Broken).read(&mut [0; 1])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(ripcord::Error::find_in(&error).is_none());
}

#[test]
fn dropped_stream_leaves_no_waker_in_its_context() {
    let (ctx, _cancel) = Context::background().with_cancel();
    let (mut near, far) = connected(&ctx);
    let wakes = Wakes::new();
    now(near.write_all(b"full")).unwrap();
    {
        let mut buf = [0; 1];
        assert!(poll_pinned(pin!(near.read(&mut buf)), &wakes.waker()).is_pending());
    }
    assert!(poll_pinned(pin!(near.write(b"x")), &wakes.waker()).is_pending());
    assert!(ctx.ptr_eq(near.context()));
    drop((near, far));
    assert_eq!(wakes.held(), 0);
}
