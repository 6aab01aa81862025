//! A server's process: started on a core of its own, told by the end of its input to stop.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{Core, load};

/// A server that is running. Dropped, it is told to stop and waited for.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Closing it tells the server to stop, also when this process dies.
    input: Option<ChildStdin>,
    address: SocketAddr,
}

impl Server {
    /// Starts `command`, which prints the port it listens on, on loopback, as its first line.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let start = || {
            Core::Servers.confine();
            command.spawn()
        };
        let mut child = thread::scope(|scope| scope.spawn(start).join().expect("starting a process does not panic"))?;
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output is piped")).read_line(&mut line)?;
        let port: u16 = line.trim().parse().map_err(|_| io::Error::other(format!("no port but {line:?}")))?;
        Ok(Server { child, input, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// Reads what the server streams at `path` until it ends, on the core of the load.
    pub(crate) fn watch(&self, path: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut first = [0; 12];
        stream.read_exact(&mut first)?;
        if first != *b"HTTP/1.1 200" {
            return Err(io::Error::other(format!("{path} answers {}", String::from_utf8_lossy(&first))));
        }
        thread::spawn(move || {
            Core::Loads.confine();
            io::copy(&mut stream, &mut io::sink())
        });
        Ok(())
    }

    /// The time per request in nanoseconds, under the load of `connections` for as long as `lasting`.
    pub(crate) fn time_per_request(&self, connections: usize, lasting: Duration) -> f64 {
        load::time_per_request(self.address, connections, lasting)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.input.take());
        // Nobody is left to tell of a server that failed after its figures were taken.
        let _ = self.child.wait();
    }
}
