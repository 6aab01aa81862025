//! `Context::io_blocking`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use ripcord::Context;

use crate::common::{MS, SEC, manual, within};
use crate::end_in;

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

#[test]
fn bytes_pass_in_both_directions_while_the_context_lives() {
    let (near, mut far) = connected();
    let (ctx, _cancel) = Context::background().with_cancel();
    let mut near = ctx.io_blocking(near);
    near.write_all(b"ping").unwrap();
    near.flush().unwrap();
    let mut received = [0; 4];
    far.read_exact(&mut received).unwrap();
    far.write_all(b"pong").unwrap();
    near.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"pong");
    drop(far);
    assert_eq!(near.read(&mut received).unwrap(), 0);
}

#[test]
fn cancel_ends_a_read_that_blocks_a_thread() {
    within("a blocked read", || {
        let (near, _far) = connected();
        let (ctx, cancel) = Context::background().with_cancel();
        let mut near = ctx.io_blocking(near);
        let reading = std::thread::spawn(move || near.read(&mut [0; 1]).unwrap_err());
        cancel.cancel_with("the client has gone");
        assert_eq!(end_in(&reading.join().unwrap()).cause().unwrap().to_string(), "the client has gone");
    });
}

#[test]
fn deadline_ends_a_write_into_a_full_socket() {
    within("a blocked write", || {
        let (near, _far) = connected();
        let (root, time) = manual();
        let mut near = root.with_timeout(SEC).io_blocking(near);
        let writing = std::thread::spawn(move || {
            loop {
                if let Err(error) = near.write(&[0; 65536]) {
                    return error;
                }
            }
        });
        time.advance(SEC);
        assert!(end_in(&writing.join().unwrap()).is_deadline_exceeded());
    });
}

#[test]
fn transfer_below_an_idle_timeout_ends_when_it_stalls() {
    let (near, mut far) = connected();
    let (root, time) = manual();
    let (ctx, _idle) = root.with_idle_timeout(2 * SEC);
    let mut near = ctx.io_blocking(near);
    for _ in 0..3 {
        time.advance(SEC);
        near.write_all(b"x").unwrap();
        time.advance(SEC);
        far.write_all(b"x").unwrap();
        near.read_exact(&mut [0; 1]).unwrap();
    }
    far.write_all(b"x").unwrap();
    time.advance(2 * SEC);
    let error = near.read(&mut [0; 1]).unwrap_err();
    assert!(end_in(&error).origin().is_idle_timeout(), "the end wins over data that is ready");
    end_in(&near.write(b"x").unwrap_err());
    end_in(&near.flush().unwrap_err());
}

#[test]
fn context_that_is_done_shuts_the_socket_down_at_once() {
    let (near, mut far) = connected();
    let mut near = Context::background().with_timeout(std::time::Duration::ZERO).io_blocking(near);
    end_in(&near.read(&mut [0; 1]).unwrap_err());
    within("the peer", move || assert_eq!(far.read(&mut [0; 1]).unwrap(), 0));
}

#[test]
fn dropped_socket_is_closed_and_leaves_nothing_in_its_context() {
    let (near, mut far) = connected();
    let (ctx, _cancel) = Context::background().with_cancel();
    let near = ctx.io_blocking(near);
    assert!(ctx.ptr_eq(near.context()) && near.get_ref().peer_addr().is_ok());
    drop(near);
    // A function that stays registered on the context would keep the socket open.
    within("the peer", move || assert_eq!(far.read(&mut [0; 1]).unwrap(), 0));
}

#[cfg(unix)]
#[test]
fn unix_socket_ends_with_its_context() {
    within("a Unix socket", || {
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        let ctx = Context::background().with_timeout(MS);
        let mut near = ctx.io_blocking(near);
        assert!(end_in(&near.read(&mut [0; 1]).unwrap_err()).is_deadline_exceeded());
    });
}
