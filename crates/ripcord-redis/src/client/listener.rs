//! The connections on which the server sends messages without a command: cancels and changes of other clients, and changed keys.
//!
//! There is one connection per master, because each node of a cluster reports only its own keys.
//!
//! # Invariants
//!
//! 1. A connection is established when the server has confirmed the subscription and the tracking. Then the subscribers read the
//!    changes that they may have missed. So a message is either heard, or its effect is read.
//! 2. A lost connection is reported before it is opened again. Its loss is counted before it is reported, so a subscriber that
//!    has not been told of a loss yet can still find out with [`Listener::is_complete`].

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use redis::{ConnectionInfo, PushInfo, PushKind, RedisError, Value};
use ripcord::Context;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::server::connect_to;

/// Receives the messages that the server sends without a command. The methods run on the client's thread and must not block.
pub(crate) trait Subscriber: Send + Sync {
    /// A connection is established, for the first time or again. Anything may have happened since it was lost.
    fn connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }

    /// A connection was lost. Later messages and changes are not heard until [`connected`](Self::connected) is called.
    fn disconnected(&self) {}

    /// A client has published `message` on the [channel](Shared::channel). It may be this client.
    fn message(&self, _message: &[u8]) {}

    /// Clients have changed or removed these keys, or the keys have expired. `None` means all keys.
    fn invalidated(&self, _keys: Option<&[String]>) {}
}

pub(super) struct Listener {
    state: Mutex<State>,
    /// The number of masters, and how many of their connections are established.
    established: watch::Sender<(usize, usize)>,
}

#[derive(Default)]
struct State {
    subscribers: Vec<Weak<dyn Subscriber>>,
    is_running: bool,
}

impl Default for Listener {
    fn default() -> Self {
        Listener { state: Mutex::default(), established: watch::Sender::new((0, 0)) }
    }
}

impl Listener {
    /// Adds a subscriber. The first subscriber starts the listening.
    pub(super) fn add(&self, shared: &Arc<Shared>, subscriber: Weak<dyn Subscriber>) {
        let mut state = self.lock();
        state.subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        state.subscribers.push(subscriber);
        if !std::mem::replace(&mut state.is_running, true) {
            shared.runtime.spawn(follow_masters(Arc::downgrade(shared)));
        }
    }

    /// Returns whether the connections to all known masters are established.
    pub(super) fn is_complete(&self) -> bool {
        let (masters, established) = *self.established.borrow();
        masters > 0 && masters == established
    }

    /// Waits until the connections to all masters are established.
    pub(super) async fn ready(&self, ctx: &Context) -> Result<(), ripcord::Error> {
        let mut established = self.established.subscribe();
        let all = established.wait_for(|(masters, established)| *masters > 0 && masters == established);
        // The sender is part of the client, which the caller holds.
        ctx.run(async { all.await.is_ok() }).await.map(drop)
    }

    fn subscribers(&self) -> Vec<Arc<dyn Subscriber>> {
        self.lock().subscribers.iter().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one connection to each master. Masters come and go with failovers and with changes of a cluster.
async fn follow_masters(client: Weak<Shared>) {
    let mut tasks: HashMap<String, ListeningTask> = HashMap::new();
    while let Some(shared) = client.upgrade() {
        if let Ok(Ok(masters)) = tokio::time::timeout(shared.timeout, shared.server.masters(shared.timeout)).await {
            let masters: HashMap<_, _> = masters.into_iter().map(|node| (node.addr().to_string(), node)).collect();
            let is_over =
                |address: &String, task: &ListeningTask| !masters.contains_key(address) || task.0.is_finished();
            for (_, mut task) in tasks.extract_if(|address, task| is_over(address, task)).collect::<Vec<_>>() {
                task.0.abort();
                // A connection to a former master must not count for a new master.
                let _ended = (&mut task.0).await;
            }
            shared.listener.established.send_modify(|(known, _)| *known = masters.len());
            for (address, node) in masters {
                tasks.entry(address).or_insert_with(|| ListeningTask::new(&client, node));
            }
        }
        let pause = shared.retry_every;
        drop(shared);
        tokio::time::sleep(pause).await;
    }
}

/// The task that listens to one master. Dropping it closes the connection.
struct ListeningTask(JoinHandle<()>);

impl ListeningTask {
    fn new(client: &Weak<Shared>, node: ConnectionInfo) -> Self {
        ListeningTask(tokio::spawn(listen(client.clone(), node)))
    }
}

impl Drop for ListeningTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An established connection. Dropping it reports the loss of the connection. (Invariant 2.)
struct Established(Weak<Shared>);

impl Established {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.listener.established.send_modify(|(_, established)| *established += 1);
        Established(Arc::downgrade(shared))
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.listener.established.send_modify(|(_, established)| *established -= 1);
            shared.listener.subscribers().iter().for_each(|subscriber| subscriber.disconnected());
        }
    }
}

/// Listens to one master, until the connection is lost or the node is no longer a master. (Invariant 1.)
async fn listen(client: Weak<Shared>, node: ConnectionInfo) {
    let Some(shared) = client.upgrade() else { return };
    let (timeout, heartbeat) = (shared.timeout, shared.retry_every);
    let (channel, tracked) = (shared.channel(), shared.key(&["cache:"]));
    let (sender, mut pushes) = mpsc::unbounded_channel();
    let connecting = tokio::time::timeout(timeout, async {
        let mut connection = connect_to(&node, timeout, Some(sender)).await?;
        let mut tracking = redis::cmd("CLIENT");
        tracking.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(&tracked);
        let _: Value = tracking.query_async(&mut connection).await?;
        connection.subscribe(&channel).await?;
        Ok::<_, RedisError>(connection)
    });
    let Ok(Ok(mut connection)) = connecting.await else { return };
    let _established = Established::new(&shared);
    for subscriber in shared.listener.subscribers() {
        subscriber.connected().await;
    }
    drop(shared);
    let mut beat = tokio::time::interval(heartbeat);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            push = pushes.recv() => {
                let Some(shared) = client.upgrade() else { return };
                let Some(push) = push.filter(|push| push.kind != PushKind::Disconnection) else { return };
                dispatch(&push, &channel, &shared.listener.subscribers());
            }
            _ = beat.tick() => {
                // A connection to a machine that is gone fails only when something is sent. A node that was demoted says so.
                let role = redis::cmd("ROLE");
                let role = tokio::time::timeout(timeout, role.query_async::<Vec<Value>>(&mut connection)).await;
                if !matches!(&role, Ok(Ok(role)) if role.first() == Some(&Value::BulkString(b"master".to_vec()))) {
                    return;
                }
            }
        }
    }
}

fn dispatch(push: &PushInfo, channel: &str, subscribers: &[Arc<dyn Subscriber>]) {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Message, [Value::BulkString(from), Value::BulkString(message)]) if from == channel.as_bytes() => {
            subscribers.iter().for_each(|subscriber| subscriber.message(message));
        }
        (PushKind::Invalidate, [Value::Array(keys)]) => {
            let keys: Vec<String> = keys.iter().filter_map(|key| redis::from_redis_value_ref(key).ok()).collect();
            subscribers.iter().for_each(|subscriber| subscriber.invalidated(Some(&keys)));
        }
        // The database was flushed.
        (PushKind::Invalidate, _) => subscribers.iter().for_each(|subscriber| subscriber.invalidated(None)),
        _ => {}
    }
}
