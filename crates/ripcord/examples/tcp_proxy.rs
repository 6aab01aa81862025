//! A TCP proxy on threads. A connection has no time limit, and ends when no byte has passed in either direction for a while.
//!
//! `cargo run --example tcp_proxy`
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ripcord::{BlockingIo, Context, Error};

const IDLE_TIMEOUT: Duration = Duration::from_millis(500);

fn main() -> io::Result<()> {
    let server = start_echo_server()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = listener.local_addr()?;

    for is_patient in [false, true] {
        let client = thread::spawn(move || run_client(proxy, is_patient));
        let (connection, _) = listener.accept()?;
        let (ctx, _idle) = Context::background().with_name("connection").with_idle_timeout(IDLE_TIMEOUT);
        match forward(&ctx, connection, TcpStream::connect(server)?) {
            Ok((sent, received)) => println!("proxy: {sent} bytes sent, {received} received"),
            Err(error) => match Error::find_in(&error) {
                Some(end) => println!("proxy: {end:#}"),
                None => return Err(error),
            },
        }
        client.join().expect("the client does not panic")?;
    }
    Ok(())
}

/// Forwards bytes in both directions, until both sides have finished or the context ends. Returns the number of bytes that the
/// client has sent and received.
fn forward(ctx: &Context, client: TcpStream, server: TcpStream) -> io::Result<(u64, u64)> {
    // Each direction has a thread, and both use the same two connections.
    let (client_writer, server_writer) = (client.try_clone()?, server.try_clone()?);
    thread::scope(|scope| {
        let sending = scope.spawn(|| copy(ctx.io_blocking(client), ctx.io_blocking(server_writer)));
        let received = copy(ctx.io_blocking(server), ctx.io_blocking(client_writer));
        let sent = sending.join().expect("copying does not panic");
        Ok((sent?, received?))
    })
}

/// Copies until the end of `from`, and forwards the end.
fn copy(mut from: BlockingIo<TcpStream>, mut to: BlockingIo<TcpStream>) -> io::Result<u64> {
    let copied = io::copy(&mut from, &mut to)?;
    to.get_ref().shutdown(Shutdown::Write)?;
    Ok(copied)
}

/// Sends a greeting and receives its echo. A patient client then waits for more bytes, which never arrive.
fn run_client(proxy: SocketAddr, is_patient: bool) -> io::Result<()> {
    let mut connection = TcpStream::connect(proxy)?;
    connection.write_all(b"hello")?;
    let mut echo = [0; 5];
    connection.read_exact(&mut echo)?;
    if !is_patient {
        connection.shutdown(Shutdown::Write)?;
    }
    // The end of the stream, from the server or from the proxy.
    connection.read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Sends all bytes back. It has no timeout of its own.
fn start_echo_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &connection, &mut &connection));
        }
    });
    Ok(address)
}
