//! A server's process: started on a core of its own, told by the end of its input to stop.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Core;
use super::load::Load;

/// A server that is running, in a process that may have others. With the last of them dropped, that is told to stop and waited
/// for.
#[derive(Debug)]
pub(crate) struct Server {
    process: Arc<Process>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// Closing it tells the process to stop, also when this one dies.
    input: Option<ChildStdin>,
}

impl Server {
    /// Starts `command`, whose first line are the ports of its servers, on loopback, with a space between them.
    pub(crate) fn start<const N: usize>(mut command: Command) -> io::Result<[Self; N]> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let start = || {
            Core::Servers.confine();
            command.spawn()
        };
        let mut child = thread::scope(|scope| scope.spawn(start).join().expect("starting a process does not panic"))?;
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output is piped")).read_line(&mut line)?;
        let process = Arc::new(Process { child, input });
        let server = |port: &str| {
            let address = (Ipv4Addr::LOCALHOST, port.parse().ok()?).into();
            Some(Server { process: Arc::clone(&process), address })
        };
        let servers: Option<Vec<_>> = line.split_whitespace().map(server).collect();
        let servers = servers.and_then(|servers| servers.try_into().ok());
        servers.ok_or_else(|| io::Error::other(format!("not {N} ports but {line:?}")))
    }

    /// Reads what the server streams at `path`, on the core of the load, until the stream ends or what this gives is dropped.
    pub(crate) fn watch(&self, path: &str) -> io::Result<Watching> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut first = [0; 12];
        stream.read_exact(&mut first)?;
        if first != *b"HTTP/1.1 200" {
            return Err(io::Error::other(format!("{path} answers {}", String::from_utf8_lossy(&first))));
        }
        let watched = stream.try_clone()?;
        let reader = thread::spawn(move || {
            Core::Loads.confine();
            io::copy(&mut stream, &mut io::sink())
        });
        Ok(Watching { stream: watched, reader: Some(reader) })
    }

    /// How long its process has run on a core, as far as the system tells: of its main thread, which is all that a server in Rust
    /// has.
    pub(crate) fn time_on_core(&self) -> Option<Duration> {
        let pid = self.process.child.id();
        let times = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).ok()?;
        times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    /// Opens so many connections to it, to ask over.
    pub(crate) fn load(&self, connections: usize) -> Load {
        Load::open(self.address, connections)
    }
}

/// Somebody who reads a stream. Dropped, it goes.
#[derive(Debug)]
pub(crate) struct Watching {
    stream: TcpStream,
    reader: Option<JoinHandle<io::Result<u64>>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Fails when the server has closed it, and then the reader is at its end as well.
        let _ = self.stream.shutdown(Shutdown::Both);
        let read = self.reader.take().map(JoinHandle::join);
        debug_assert!(matches!(read, Some(Ok(Ok(_)))), "the page's stream broke: {read:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // Nobody is left to tell of a server that failed after its figures were taken.
        let _ = self.child.wait();
    }
}
