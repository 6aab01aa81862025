//! Sends millions of requests, some abandoned and some too slow, and measures the resources that remain in use.

use std::{
    fs,
    future::IntoFuture as _,
    io,
    net::SocketAddr,
    ops::AddAssign,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use ripcord::{Context, Shutdown};
use ripcord_http::server::{ContextLayer, Ctx, Ended, ServerStats};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

/// The maximum time to wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// The number of clients. Each client has one request at a time.
const CLIENTS: usize = 64;

/// The results when all requests have ended.
#[derive(Debug)]
pub(crate) struct Report {
    /// The results of the clients.
    pub(crate) seen: Seen,
    /// The counters of the server.
    pub(crate) stats: ServerStats,
    pub(crate) took: Duration,
    /// The memory of the process after a tenth of the requests and after all requests. `None` if the system does not report it.
    pub(crate) memory: Option<(u64, u64)>,
}

/// The numbers of requests by their result at the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    pub(crate) timed_out: u64,
    pub(crate) given_up: u64,
}

/// Sends `requests` requests. The clients abandon every tenth request. Another tenth has a deadline of a millisecond for work of
/// an hour.
pub(crate) async fn run(requests: u64) -> io::Result<Report> {
    let server = Server::start().await?;
    let started = Instant::now();
    let mut seen = server.clients(requests / 10).await?;
    let warm = memory();
    seen += server.clients(requests - requests / 10).await?;
    let took = started.elapsed();
    server.settle().await?;
    let memory = warm.zip(memory());
    let stats = server.layer.stats();
    server.stop().await;
    Ok(Report { seen, stats, took, memory })
}

// ===== Server =====

struct Server {
    address: SocketAddr,
    layer: ContextLayer,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
    started: Arc<[Notify]>,
}

impl Server {
    async fn start() -> io::Result<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let started: Arc<[Notify]> = (0..CLIENTS).map(|_| Notify::new()).collect();
        let layer = ContextLayer::new(&Context::background().with_name("soak"));
        let app = Router::new()
            .route("/quick", get(|| async { "done" }))
            .route("/slow/{client}", get(slow))
            .with_state(Arc::clone(&started))
            .layer(layer.clone());
        let shutdown = Shutdown::builder().build();
        let serving = tokio::spawn(ripcord_http::serve(listener, app).shutdown(&shutdown).into_future());
        Ok(Server { address, layer, shutdown, serving, started })
    }

    /// Runs all clients concurrently. They share the requests.
    async fn clients(&self, requests: u64) -> io::Result<Seen> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|index| {
                let share = requests / CLIENTS as u64 + u64::from((index as u64) < requests % CLIENTS as u64);
                let client = Client { address: self.address, index, started: Arc::clone(&self.started), stream: None };
                tokio::spawn(client.run(share))
            })
            .collect();
        let mut seen = Seen::default();
        for client in clients {
            seen += client.await.map_err(io::Error::other)??;
        }
        Ok(seen)
    }

    /// Waits until no request is in flight and no context is held.
    async fn settle(&self) -> io::Result<()> {
        let ctx = Context::background().with_timeout(PATIENCE);
        while self.layer.stats().in_flight > 0 || self.layer.stats().held > 0 {
            ctx.sleep(Duration::from_millis(1)).await.map_err(|_| {
                io::Error::other(format!("something of the requests is left: {:?}", self.layer.stats()))
            })?;
        }
        Ok(())
    }

    async fn stop(self) {
        self.shutdown.begin("the end of the load");
        let _ = self.serving.await;
    }
}

async fn slow(
    Ctx(ctx): Ctx,
    Path(client): Path<usize>,
    State(started): State<Arc<[Notify]>>,
) -> Result<&'static str, Ended> {
    if let Some(started) = started.get(client) {
        started.notify_one();
    }
    ctx.sleep(Duration::from_secs(3600)).await?;
    Ok("done")
}

// ===== Client =====

struct Client {
    address: SocketAddr,
    /// The index of the client. A handler reports its start under this index.
    index: usize,
    started: Arc<[Notify]>,
    stream: Option<TcpStream>,
}

impl Client {
    async fn run(mut self, requests: u64) -> io::Result<Seen> {
        let mut seen = Seen::default();
        let slow = format!("/slow/{}", self.index);
        for number in 0..requests {
            match number % 10 {
                3 => {
                    self.send(&slow, "").await?;
                    self.started[self.index].notified().await;
                    let stream = self.stream.take();
                    // Alternates between a FIN and a RST.
                    if number % 20 == 3
                        && let Some(stream) = &stream
                    {
                        SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                    }
                    seen.given_up += 1;
                }
                7 => {
                    self.send(&slow, "X-Request-Timeout-Ms: 1\r\n").await?;
                    self.receive("HTTP/1.1 504 ", "Request timed out").await?;
                    // The handler may not have been called.
                    let _ = tokio::time::timeout(Duration::ZERO, self.started[self.index].notified()).await;
                    seen.timed_out += 1;
                }
                _ => {
                    self.send("/quick", "").await?;
                    self.receive("HTTP/1.1 200 ", "done").await?;
                    seen.answered += 1;
                }
            }
        }
        Ok(seen)
    }

    async fn send(&mut self, path: &str, header: &str) -> io::Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(TcpStream::connect(self.address).await?),
        };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: soak\r\n{header}\r\n").as_bytes()).await
    }

    async fn receive(&mut self, start: &str, end: &str) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let (mut answer, mut length) = ([0; 1024], 0);
        while !answer[..length].ends_with(end.as_bytes()) {
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer[length..])).await??;
            length += read;
            if read == 0 {
                let answer = String::from_utf8_lossy(&answer[..length]);
                return Err(io::Error::other(format!("no {end:?} in {answer:?}")));
            }
        }
        if !answer.starts_with(start.as_bytes()) {
            let answer = String::from_utf8_lossy(&answer[..length]);
            return Err(io::Error::other(format!("no {start:?} in {answer:?}")));
        }
        Ok(())
    }
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.answered += other.answered;
        self.timed_out += other.timed_out;
        self.given_up += other.given_up;
    }
}

/// Returns the resident memory of the process in bytes. `None` if the system does not report it.
fn memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.trim().parse::<u64>().ok()? * 1024)
}
