//! Where Redis is, and how to connect to it.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion, PushInfo, RedisError,
    RedisFuture, Value,
};
use tokio::sync::mpsc::UnboundedSender;

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

/// Reads a URL, and asks for the protocol in which the server can send messages of its own.
pub(super) fn parse(url: &str) -> Result<ConnectionInfo, RedisError> {
    let info = url.into_connection_info()?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(redis))
}

impl Server {
    /// Opens a connection for commands. Its tasks run on the current runtime.
    pub(crate) async fn connect(&self, timeout: Duration) -> Result<Connection, RedisError> {
        if let Server::Cluster(nodes) = self {
            // The caller's context limits each command.
            let client = ClusterClient::builder(nodes.clone())
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(timeout)
                .response_timeout(Duration::MAX)
                .overall_response_timeout(None)
                .retries(3)
                .build()?;
            return Ok(Connection::Cluster(client.get_async_connection().await?));
        }
        let node = self.master().await?;
        Ok(Connection::Single(connect_to(&node, timeout, None).await?))
    }

    /// Returns the address of the one master that is not in a cluster.
    async fn master(&self) -> Result<ConnectionInfo, RedisError> {
        match self {
            Server::Standalone(info) => Ok(info.clone()),
            Server::Sentinel { master, sentinels, redis } => {
                let mut client =
                    SentinelClient::build(sentinels.clone(), master.clone(), None, SentinelServerType::Master)?;
                let found = client.async_get_client().await?;
                // The sentinels know the address. User, password and database are the builder's.
                Ok(redis.clone().set_addr(found.get_connection_info().addr().clone()))
            }
            Server::Cluster(nodes) => Ok(nodes[0].clone()),
        }
    }

    /// Returns the addresses of all masters.
    pub(super) async fn masters(&self, timeout: Duration) -> Result<Vec<ConnectionInfo>, RedisError> {
        let Server::Cluster(nodes) = self else { return Ok(vec![self.master().await?]) };
        let mut last = None;
        for node in nodes {
            match slots(node, timeout).await {
                Ok(masters) => return Ok(masters),
                Err(error) => last = Some(error),
            }
        }
        Err(last
            .unwrap_or_else(|| RedisError::from((redis::ErrorKind::InvalidClientConfig, "the cluster has no nodes"))))
    }
}

/// Connects to one node. Messages that the node sends by itself go to `pushes`.
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
async fn slots(node: &ConnectionInfo, timeout: Duration) -> Result<Vec<ConnectionInfo>, RedisError> {
    type Node = (String, u16, String, Value);
    let mut connection = connect_to(node, timeout, None).await?;
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
