//! The process of a server. It has its own core and stops when its input ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::grpc_load::GrpcLoad;
use super::load::Load;
use super::{Core, error};

/// A running server. Its process may run several servers. The drop of the last server stops the process and waits for it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Arc<Process>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// The standard input. Closing it stops the process, also when this process dies.
    input: Option<ChildStdin>,
}

impl Server {
    /// Starts `command`, which first prints the loopback ports of its servers on one line, separated by spaces.
    ///
    /// # Panics
    ///
    /// Panics if the servers do not start.
    pub(crate) fn start<const N: usize>(command: Command) -> [Self; N] {
        Server::try_start(command).unwrap_or_else(|error| panic!("a server did not start: {error}"))
    }

    /// Does the same as [`Server::start`] for a command with one server.
    pub(crate) fn start_one(command: Command) -> Self {
        let [server] = Server::start(command);
        server
    }

    fn try_start<const N: usize>(mut command: Command) -> io::Result<[Self; N]> {
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
        servers.ok_or_else(|| error(format!("not {N} ports but {line:?}")))
    }

    /// Reads the stream at `path`, on the core of the load, until it ends or the returned value is dropped.
    ///
    /// # Panics
    ///
    /// Panics if the server does not answer with 200.
    pub(crate) fn watch(&self, path: &str) -> Watching {
        self.try_watch(path).unwrap_or_else(|error| panic!("{path} is not served: {error}"))
    }

    fn try_watch(&self, path: &str) -> io::Result<Watching> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut first = [0; 12];
        stream.read_exact(&mut first)?;
        if first != *b"HTTP/1.1 200" {
            return Err(error(String::from_utf8_lossy(&first)));
        }
        let watched = stream.try_clone()?;
        let reader = thread::spawn(move || {
            Core::Loads.confine();
            io::copy(&mut stream, &mut io::sink())
        });
        Ok(Watching { stream: watched, reader: Some(reader) })
    }

    /// Returns the time that the main thread of the server's process has run on a core, if the system reports it. A server in Rust
    /// has no other busy thread.
    pub(crate) fn time_on_core(&self) -> Option<Duration> {
        let pid = self.process.child.id();
        let times = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).ok()?;
        times.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    /// Returns the resident memory of the server's process.
    pub(super) fn resident_bytes(&self) -> io::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id()))?;
        let kilobytes = status.lines().find_map(|line| {
            let (value, unit) = line.strip_prefix("VmRSS:")?.trim().split_once(' ')?;
            (unit == "kB").then(|| value.parse::<f64>().ok())?
        });
        kilobytes.map(|kilobytes| kilobytes * 1024.0).ok_or_else(|| error("no VmRSS in the server's status"))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the given number of connections for a load of gRPC calls.
    pub(crate) fn grpc_load(&self, connections: usize) -> GrpcLoad {
        GrpcLoad::open(self.address, connections)
    }

    /// Opens the given number of connections for a load.
    pub(crate) fn load(&self, connections: usize) -> Load {
        Load::open(self.address, connections)
    }
}

/// A reader of a stream. Its drop closes the connection.
#[derive(Debug)]
pub(crate) struct Watching {
    stream: TcpStream,
    reader: Option<JoinHandle<io::Result<u64>>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        // Fails if the server has closed the connection. Then the reader has ended too.
        let _ = self.stream.shutdown(Shutdown::Both);
        let read = self.reader.take().map(JoinHandle::join);
        debug_assert!(matches!(read, Some(Ok(Ok(_)))), "the page's stream broke: {read:?}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // A failure of the server after the measurement does not matter.
        let _ = self.child.wait();
    }
}
