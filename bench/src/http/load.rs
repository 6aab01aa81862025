//! As many requests as a server answers, over connections that are kept.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use super::Core;
use crate::harness::nanoseconds;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";

/// Clients of a server, over connections that stay open: where they lie and how they are woken is then the same in each round.
#[derive(Debug)]
pub(crate) struct Load {
    address: SocketAddr,
    /// Runs on the core of the load, in whatever thread.
    runtime: Runtime,
    connections: Vec<Connection>,
}

impl Load {
    /// Opens so many connections.
    ///
    /// # Panics
    ///
    /// As [`Load::ask_for`].
    pub(super) fn open(address: SocketAddr, connections: usize) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_io().build().expect("a runtime for the load");
        let mut load = Load { address, runtime, connections: Vec::new() };
        load.connections = load.run(async |_| {
            let mut open = Vec::with_capacity(connections);
            for _ in 0..connections {
                open.push(Connection::open(address).await?);
            }
            Ok(open)
        });
        load
    }

    /// Asks over all connections at once, each for the next answer as soon as it has the last, for as long as `lasting`.
    ///
    /// # Panics
    ///
    /// If an answer is not a whole 200: a server that fails quickly must not win.
    pub(crate) fn ask_for(&mut self, lasting: Duration) -> Answers {
        let (connections, answers) = self.run(async |connections| ask_for(connections, lasting).await);
        self.connections = connections;
        answers
    }

    fn run<T: Send>(&mut self, work: impl AsyncFnOnce(Vec<Connection>) -> io::Result<T> + Send) -> T {
        let Load { address, runtime, connections } = self;
        let connections = std::mem::take(connections);
        let run = || {
            Core::Loads.confine();
            runtime.block_on(work(connections))
        };
        thread::scope(|scope| scope.spawn(run).join().expect("the load does not panic"))
            .unwrap_or_else(|error| panic!("the load on {address} failed: {error}"))
    }
}

/// What a load was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    count: u64,
    took: Duration,
}

impl Answers {
    /// In nanoseconds.
    pub(crate) fn time_per_request(self) -> f64 {
        self.share_of(self.took)
    }

    /// What each has of that time, in nanoseconds.
    pub(crate) fn share_of(self, time: Duration) -> f64 {
        nanoseconds(time) / self.count as f64
    }
}

async fn ask_for(connections: Vec<Connection>, lasting: Duration) -> io::Result<(Vec<Connection>, Answers)> {
    let start = Instant::now();
    let end = start + lasting;
    let mut tasks: JoinSet<io::Result<(Connection, u64)>> = JoinSet::new();
    for mut connection in connections {
        tasks.spawn(async move {
            let mut answers = 0;
            while Instant::now() < end {
                connection.ask().await?;
                answers += 1;
            }
            Ok((connection, answers))
        });
    }
    let (mut connections, mut count) = (Vec::new(), 0);
    while let Some(task) = tasks.join_next().await {
        let (connection, answered) = task.expect("a connection's task does not panic")?;
        connections.push(connection);
        count += answered;
    }
    Ok((connections, Answers { count, took: start.elapsed() }))
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// An answer, whose length never changes: dates and ids are of one length.
    answer: Vec<u8>,
}

impl Connection {
    /// Connects, and learns from a first answer how long they are.
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(wrong("closed before the first answer", &answer));
            }
            if let Some(length) = length(&answer) {
                answer.resize(length, 0);
                let mut connection = Connection { stream, answer };
                connection.ask().await?;
                return Ok(connection);
            }
        }
    }

    async fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(REQUEST).await?;
        self.stream.read_exact(&mut self.answer).await?;
        if self.answer.starts_with(b"HTTP/1.1 200 ") && length(&self.answer) == Some(self.answer.len()) {
            Ok(())
        } else {
            Err(wrong("not the answer that was expected", &self.answer))
        }
    }
}

/// How long the answer is that begins here, once its head is complete and has a `Content-Length`.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = str::from_utf8(&answer[..head]).ok()?;
    let body = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    Some(head + body)
}

fn wrong(what: &str, answer: &[u8]) -> io::Error {
    io::Error::other(format!("{what}: {}", String::from_utf8_lossy(answer)))
}
