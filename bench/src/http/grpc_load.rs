//! A load of unary gRPC calls, over persistent connections.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::http::Request;
use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::load::Answers;
use super::{error, load_runtime, on_load_core};

/// Calls in flight on each connection.
const CALLS: usize = 8;

/// A message with the text `hello`: its length, its first field, the text.
const MESSAGE: Bytes = Bytes::from_static(b"\0\0\0\0\x07\x0a\x05hello");

/// Clients of a server. Their connections stay open.
#[derive(Debug)]
pub(crate) struct GrpcLoad {
    address: SocketAddr,
    runtime: Runtime,
    connections: Vec<SendRequest<Bytes>>,
}

impl GrpcLoad {
    /// Opens the given number of connections.
    ///
    /// # Panics
    ///
    /// Panics if a connection fails, as does [`GrpcLoad::call_for`].
    pub(super) fn open(address: SocketAddr, connections: usize) -> Self {
        let runtime = load_runtime();
        let open = async {
            let mut open = Vec::with_capacity(connections);
            for _ in 0..connections {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                open.push(sender);
            }
            Ok::<_, io::Error>(open)
        };
        let connections = on_load_core(|| runtime.block_on(open)).unwrap_or_else(|error| failed(address, error));
        GrpcLoad { address, runtime, connections }
    }

    /// Makes calls on all connections at once for the given time.
    ///
    /// # Panics
    ///
    /// Panics if a call does not succeed.
    pub(crate) fn call_for(&mut self, time: Duration) -> Answers {
        let GrpcLoad { address, runtime, connections } = self;
        let senders: Vec<_> = connections.iter().flat_map(|sender| vec![sender.clone(); CALLS]).collect();
        on_load_core(|| runtime.block_on(call_for(senders, time))).unwrap_or_else(|error| failed(*address, error))
    }
}

fn failed<T>(address: SocketAddr, error: io::Error) -> T {
    panic!("the load on {address} failed: {error}")
}

async fn call_for(senders: Vec<SendRequest<Bytes>>, time: Duration) -> io::Result<Answers> {
    let start = Instant::now();
    let end = start + time;
    let mut tasks: JoinSet<io::Result<u64>> = JoinSet::new();
    for mut sender in senders {
        tasks.spawn(async move {
            let mut answers = 0;
            while Instant::now() < end {
                sender = call(sender).await?;
                answers += 1;
            }
            Ok(answers)
        });
    }
    let mut count = 0;
    while let Some(task) = tasks.join_next().await {
        count += task.expect("a caller's task does not panic")?;
    }
    Ok(Answers::new(count, start.elapsed()))
}

/// Makes one call with a deadline, and reads its answer to the end.
async fn call(sender: SendRequest<Bytes>) -> io::Result<SendRequest<Bytes>> {
    let mut sender = sender.ready().await.map_err(io::Error::other)?;
    let request = Request::post("http://localhost/ripcord.test.v1.Echo/Unary")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "4S")
        .body(())
        .expect("a valid request");
    let (response, mut body) = sender.send_request(request, false).map_err(io::Error::other)?;
    body.send_data(MESSAGE, true).map_err(io::Error::other)?;
    let mut body = response.await.map_err(io::Error::other)?.into_body();
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        length += data.len();
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
    }
    let trailers = body.trailers().await.map_err(io::Error::other)?;
    let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
    // A server that fails quickly must not win.
    match status {
        Some(status) if status == "0" && length >= MESSAGE.len() => Ok(sender),
        _ => Err(error(format!("unexpected answer: {length} bytes, {trailers:?}"))),
    }
}
