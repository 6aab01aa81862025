//! Sockets to the server.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::oneshot;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

const DEFAULT_PORT: u16 = 5432;

/// A TCP or Unix socket to the server. The TLS connector that you pass to [`PoolBuilder::tls`](super::PoolBuilder::tls) wraps it.
#[derive(Debug)]
pub struct Socket {
    stream: Option<Stream>,
    /// Receives the stream when the socket is dropped.
    return_to: Option<oneshot::Sender<Stream>>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The address of a server.
#[derive(Clone, Debug)]
pub(super) enum Address {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

/// One of the servers of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) address: Address,
    /// The name that the server's certificate must have. Empty if there is none.
    pub(super) host: String,
}

/// Returns the servers of a configuration, in the order in which they are tried.
pub(super) async fn servers(config: &Config) -> io::Result<Vec<Server>> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let is_random = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
    let mut indices: Vec<_> = (0..hosts.len().max(addresses.len())).collect();
    shuffle_if(is_random, &mut indices);
    let mut servers = Vec::new();
    let mut error = None;
    for index in indices {
        let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(DEFAULT_PORT);
        let host = match hosts.get(index) {
            Some(Host::Tcp(name)) => name.clone(),
            #[cfg(unix)]
            Some(Host::Unix(directory)) => {
                let address = Address::Unix(directory.join(format!(".s.PGSQL.{port}")));
                servers.push(Server { address, host: String::new() });
                continue;
            }
            None => String::new(),
        };
        let mut found = match addresses.get(index) {
            Some(&address) => vec![SocketAddr::from((address, port))],
            None => match lookup_host((&*host, port)).await {
                Ok(found) => found.collect(),
                Err(failure) => {
                    error = Some(failure);
                    continue;
                }
            },
        };
        shuffle_if(is_random, &mut found);
        servers.extend(found.into_iter().map(|address| Server { address: Address::Tcp(address), host: host.clone() }));
    }
    match error {
        Some(error) if servers.is_empty() => Err(error),
        _ => Ok(servers),
    }
}

fn shuffle_if<T>(is_random: bool, items: &mut [T]) {
    if is_random {
        for last in (1..items.len()).rev() {
            // Each `RandomState` has different keys.
            let random = RandomState::new().build_hasher().finish();
            items.swap(last, usize::try_from(random % (last as u64 + 1)).expect("it is at most `last`"));
        }
    }
}

impl Address {
    /// Opens a socket with the settings of the configuration.
    pub(super) async fn connect(&self, config: &Config) -> io::Result<Socket> {
        let limit = config.get_connect_timeout().copied().unwrap_or(Duration::MAX);
        let stream = match tokio::time::timeout(limit, self.open()).await {
            Ok(stream) => stream?,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the connect timeout has passed")),
        };
        match &stream {
            Stream::Tcp(stream) => set_options(stream, config)?,
            #[cfg(unix)]
            Stream::Unix(_) => {}
        }
        Ok(Socket { stream: Some(stream), return_to: None })
    }

    async fn open(&self) -> io::Result<Stream> {
        Ok(match self {
            Address::Tcp(address) => Stream::Tcp(TcpStream::connect(address).await?),
            #[cfg(unix)]
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        })
    }
}

fn set_options(stream: &TcpStream, config: &Config) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    #[cfg(target_os = "linux")]
    if let Some(timeout) = config.get_tcp_user_timeout() {
        socket.set_tcp_user_timeout(Some(*timeout))?;
    }
    if config.get_keepalives() {
        let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            keepalive = keepalive.with_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            keepalive = keepalive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

impl Socket {
    /// Lends the socket: when the returned socket is dropped, the stream is sent to the returned [`Returned`].
    pub(super) fn lend(mut self) -> (Socket, Returned) {
        let (return_to, returned) = oneshot::channel();
        (Socket { stream: self.stream.take(), return_to: Some(return_to) }, Returned(returned))
    }

    fn get(self: Pin<&mut Self>) -> &mut Stream {
        self.get_mut().stream.as_mut().expect("it is taken only when it is dropped")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(stream), Some(return_to)) = (self.stream.take(), self.return_to.take()) {
            let _ = return_to.send(stream);
        }
    }
}

/// Receives the stream of a lent socket: see [`Socket::lend`].
pub(super) struct Returned(oneshot::Receiver<Stream>);

impl Returned {
    /// Waits until the server closes the connection.
    pub(super) async fn read_to_end(self) -> io::Result<()> {
        let mut stream = self.0.await.map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let _ = stream.shutdown().await;
        let mut rest = [0; 256];
        loop {
            match stream.read(&mut rest).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The server closes the connection without reading all data, such as the end of a TLS session.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get()).poll_read(task, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.get()).poll_write(task, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get()).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get()).poll_shutdown(task)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(task, buffer),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_read(task, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(task, bytes),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_write(task, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(task),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_flush(task),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(task),
            #[cfg(unix)]
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(task),
        }
    }
}
