//! Opens connections, with and without TLS, and sends cancel requests.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::future::{Either, select};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config, Error, NoTls, SimpleQueryMessage};

use super::socket::{Server, Socket, servers};
use super::watched::{Status, Watched};
use crate::error::Driver;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The future that sends and receives the messages of a client.
pub(super) type Driving = BoxFuture<'static, Result<(), Error>>;

/// Communicates with the server over a socket, with or without TLS.
pub(super) trait Connector: Send + Sync {
    fn start<'a>(
        &'a self,
        config: &'a Config,
        server: &'a Server,
        socket: Socket,
        status: &'a Arc<Status>,
    ) -> BoxFuture<'a, Result<(Client, Driving), Driver>>;

    fn cancel<'a>(
        &'a self,
        token: CancelToken,
        server: &'a Server,
        socket: Socket,
    ) -> BoxFuture<'a, Result<(), Driver>>;
}

/// A connection to the first server that could be reached.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) driving: Driving,
    pub(super) status: Arc<Status>,
    pub(super) server: Server,
}

pub(super) async fn open(connector: &dyn Connector, config: &Config) -> Result<Opened, Driver> {
    let mut last = None;
    for server in servers(config).await.map_err(Driver::Io)? {
        match open_one(connector, config, server).await {
            Ok(opened) => return Ok(opened),
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .unwrap_or_else(|| Driver::Io(io::Error::new(io::ErrorKind::InvalidInput, "the configuration has no host"))))
}

async fn open_one(connector: &dyn Connector, config: &Config, server: Server) -> Result<Opened, Driver> {
    let socket = server.address.connect(config).await.map_err(Driver::Io)?;
    let status = Arc::default();
    let (client, mut driving) = connector.start(config, &server, socket, &status).await?;
    let wanted = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => Some("off"),
        TargetSessionAttrs::ReadOnly => Some("on"),
        _ => None,
    };
    if let Some(wanted) = wanted {
        let asked = pin!(client.simple_query("SHOW transaction_read_only"));
        let answer = match select(asked, &mut driving).await {
            Either::Left((answer, _)) => answer.map_err(Driver::Postgres)?,
            Either::Right((end, _)) => {
                return Err(end.map_or_else(Driver::Postgres, |()| Driver::Io(io::ErrorKind::UnexpectedEof.into())));
            }
        };
        let is_wanted = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some(wanted));
        if !answer.iter().any(is_wanted) {
            let text = format!("transaction_read_only is not {wanted}");
            return Err(Driver::Io(io::Error::new(io::ErrorKind::PermissionDenied, text)));
        }
    }
    Ok(Opened { client, driving, status, server })
}

/// Cancels the statement on the connection of `token`. Returns when the server has sent the signal.
pub(super) async fn cancel(
    connector: &dyn Connector,
    config: &Config,
    server: &Server,
    token: CancelToken,
) -> io::Result<()> {
    let (socket, returned) = server.address.connect(config).await?.lend();
    connector.cancel(token, server, socket).await.map_err(|error| io::Error::other(error.to_string()))?;
    returned.read_to_end().await
}

pub(super) struct Plain;

impl Connector for Plain {
    fn start<'a>(
        &'a self,
        config: &'a Config,
        _: &'a Server,
        socket: Socket,
        status: &'a Arc<Status>,
    ) -> BoxFuture<'a, Result<(Client, Driving), Driver>> {
        Box::pin(async move {
            let socket = Watched::new(socket, Arc::clone(status));
            let (client, connection) = config.connect_raw(socket, NoTls).await.map_err(Driver::Postgres)?;
            Ok((client, Box::pin(connection) as Driving))
        })
    }

    fn cancel<'a>(&'a self, token: CancelToken, _: &'a Server, socket: Socket) -> BoxFuture<'a, Result<(), Driver>> {
        Box::pin(async move { token.cancel_query_raw(socket, NoTls).await.map_err(Driver::Postgres) })
    }
}

pub(super) struct Tls<T>(pub(super) T);

impl<T> Connector for Tls<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send + 'static,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send + 'static,
{
    fn start<'a>(
        &'a self,
        config: &'a Config,
        server: &'a Server,
        socket: Socket,
        status: &'a Arc<Status>,
    ) -> BoxFuture<'a, Result<(Client, Driving), Driver>> {
        Box::pin(async move {
            let tls = WatchedTls { tls: self.for_host(server)?, status: Arc::clone(status) };
            let socket = Watched::new(socket, Arc::clone(status));
            let (client, connection) = config.connect_raw(socket, tls).await.map_err(Driver::Postgres)?;
            Ok((client, Box::pin(connection) as Driving))
        })
    }

    fn cancel<'a>(
        &'a self,
        token: CancelToken,
        server: &'a Server,
        socket: Socket,
    ) -> BoxFuture<'a, Result<(), Driver>> {
        Box::pin(async move {
            let tls = self.for_host(server)?;
            token.cancel_query_raw(socket, tls).await.map_err(Driver::Postgres)
        })
    }
}

impl<T: MakeTlsConnect<Socket> + Clone> Tls<T> {
    fn for_host(&self, server: &Server) -> Result<T::TlsConnect, Driver> {
        self.0.clone().make_tls_connect(&server.host).map_err(|error| Driver::Io(io::Error::other(error)))
    }
}

/// A TLS connector that watches the messages inside the TLS session.
struct WatchedTls<T> {
    tls: T,
    status: Arc<Status>,
}

impl<T> TlsConnect<Watched<Socket>> for WatchedTls<T>
where
    T: TlsConnect<Socket>,
    T::Future: Send + 'static,
{
    type Stream = Watched<T::Stream>;
    type Error = T::Error;
    type Future = BoxFuture<'static, Result<Self::Stream, Self::Error>>;

    fn connect(self, socket: Watched<Socket>) -> Self::Future {
        let session = self.tls.connect(socket.into_inner());
        Box::pin(async move { Ok(Watched::new(session.await?, self.status)) })
    }
}
