//! Where Redis is, and how to connect to it.

use std::future::Future;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion, PushInfo, RedisError,
    RedisFuture, Value,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

/// Where Redis is.
#[derive(Clone, Debug)]
pub(crate) enum Server {
    /// One server.
    Standalone(ConnectionInfo),
    /// The master that sentinels name. It changes when it fails.
    Sentinel { master: String, sentinels: Vec<ConnectionInfo>, redis: ConnectionInfo },
    /// A cluster, of which some nodes are known.
    Cluster(Vec<ConnectionInfo>),
}

/// A connection for commands. Clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Reads a URL. Sets the protocol RESP3, in which the server can send messages without a command.
pub(super) fn parse(url: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info()?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(redis))
}

impl Server {
    /// Opens a connection for commands within `timeout`. Its tasks run on the current runtime.
    pub(crate) async fn connect(&self, timeout: Duration) -> Result<Connection, RedisError> {
        if let Server::Cluster(nodes) = self {
            // The caller's context limits each command.
            let client = ClusterClient::builder(nodes.clone())
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(step(timeout))
                .response_timeout(Duration::MAX)
                .overall_response_timeout(None)
                .retries(3)
                .build()?;
            return Ok(Connection::Cluster(client.get_async_connection().await?));
        }
        let node = self.master(timeout).await?;
        Ok(Connection::Single(connect_to(&node, timeout, None).await?))
    }

    /// Returns the address of the one master that is not in a cluster.
    async fn master(&self, timeout: Duration) -> Result<ConnectionInfo, RedisError> {
        match self {
            Server::Standalone(info) => Ok(info.clone()),
            Server::Sentinel { master, sentinels, redis } => {
                let ask = |sentinel: &ConnectionInfo| watched(sentinel.clone(), master.clone(), redis.clone(), timeout);
                first(sentinels.iter().map(ask)).await
            }
            Server::Cluster(nodes) => Ok(nodes[0].clone()),
        }
    }

    /// Returns the addresses of all masters.
    pub(super) async fn masters(&self, timeout: Duration) -> Result<Vec<ConnectionInfo>, RedisError> {
        let Server::Cluster(nodes) = self else { return Ok(vec![self.master(timeout).await?]) };
        first(nodes.iter().map(|node| slots(node.clone(), step(timeout)))).await
    }
}

/// Returns the time limit of one of at most three steps. A node that hangs must leave time for the other steps.
fn step(timeout: Duration) -> Duration {
    timeout / 3
}

/// Runs all attempts concurrently, because a node may hang. Returns the first success, or the last error.
async fn first<T: Send + 'static>(
    attempts: impl Iterator<Item = impl Future<Output = Result<T, RedisError>> + Send + 'static>,
) -> Result<T, RedisError> {
    let mut running: JoinSet<_> = attempts.collect();
    let mut failed = RedisError::from((redis::ErrorKind::InvalidClientConfig, "there are no nodes"));
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => failed = error,
            Err(error) => failed = std::io::Error::other(error).into(),
        }
    }
    Err(failed)
}

/// Asks a sentinel for the address of a master. The user, password and database come from `redis`. Fails if the node is not a
/// master.
async fn watched(
    sentinel: ConnectionInfo,
    master: String,
    redis: ConnectionInfo,
    timeout: Duration,
) -> Result<ConnectionInfo, RedisError> {
    let mut connection = connect_to(&sentinel, step(timeout), None).await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(&master);
    let (host, port): (String, u16) = ask.query_async(&mut connection).await?;
    let node = redis.set_addr(redis::ConnectionAddr::Tcp(host, port));
    let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connect_to(&node, step(timeout), None).await?).await?;
    match role.first() {
        Some(Value::BulkString(role)) if role == b"master" => Ok(node),
        _ => Err(RedisError::from((redis::ErrorKind::Client, "the sentinels name a node that is not a master"))),
    }
}

/// Connects to one node. Messages that the node sends without a command go to `pushes`.
pub(super) async fn connect_to(
    node: &ConnectionInfo,
    timeout: Duration,
    pushes: Option<UnboundedSender<PushInfo>>,
) -> Result<MultiplexedConnection, RedisError> {
    // The caller's context limits each command. A timeout of the connection would also end blocking reads.
    let mut config = AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(None);
    if let Some(pushes) = pushes {
        config = config.set_push_sender(pushes);
    }
    redis::Client::open(node.clone())?.get_multiplexed_async_connection_with_config(&config).await
}

/// Asks a node for the masters of its cluster.
async fn slots(node: ConnectionInfo, timeout: Duration) -> Result<Vec<ConnectionInfo>, RedisError> {
    type Node = (String, u16, String, Value);
    let mut connection = connect_to(&node, timeout, None).await?;
    let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await?;
    let mut masters: Vec<ConnectionInfo> = Vec::new();
    for range in ranges {
        // A range is its first slot, its last slot, its master, and its replicas.
        let Some(master) = range.into_iter().nth(2) else { continue };
        let (host, port, ..): Node = redis::from_redis_value(master)?;
        let address = redis::ConnectionAddr::Tcp(host, port);
        if masters.iter().all(|known| known.addr() != &address) {
            masters.push(node.clone().set_addr(address));
        }
    }
    Ok(masters)
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Single(connection) => connection.req_packed_command(command),
            Connection::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Single(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}
