//! A cluster of three masters, each with one replica, and tests of the client with it.

use std::time::Duration;

use ripcord_redis::Client;

use crate::server::{Server, until};

const SLOTS: usize = 16_384;

/// Three masters and their replicas. All are killed when this is dropped.
pub(crate) struct Cluster {
    /// The masters at the start, then the replica of each.
    nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        Cluster::with(&[])
    }

    /// Starts a cluster whose nodes have settings, such as `["--cluster-require-full-coverage", "no"]`.
    pub(crate) fn with(settings: &[&str]) -> Cluster {
        // A master that does not answer for this time is replaced.
        let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let settings: Vec<&str> = own.iter().chain(settings).copied().collect();
        let nodes: Vec<Server> = (0..6).map(|_| Server::with(&settings)).collect();
        for (number, node) in nodes.iter().enumerate() {
            // Each node has its own epoch, so that no two nodes have to agree on theirs.
            done(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            nodes[..number]
                .iter()
                .for_each(|other| done(node, &["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string()]));
        }
        for (number, master) in nodes[..3].iter().enumerate() {
            let (first, end) = (SLOTS * number / 3, SLOTS * (number + 1) / 3);
            done(master, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]);
        }
        for (replica, master) in nodes[3..].iter().zip(&nodes[..3]) {
            let id = text(&master.command(&["CLUSTER", "MYID"])).to_owned();
            // The nodes hear about each other from time to time.
            until("the replica knows its master", || {
                replica.command(&["CLUSTER", "REPLICATE", &id]).starts_with("+OK")
            });
        }
        let cluster = Cluster { nodes };
        cluster.settle();
        cluster
    }

    /// Waits until all nodes that run agree that each slot has a master, and until each replica follows its master.
    pub(crate) fn settle(&self) {
        until("the cluster is ready", || {
            self.nodes.iter().filter_map(|node| node.try_command(&["CLUSTER", "INFO"])).all(|info| {
                info.contains("cluster_state:ok")
                    && info.contains("cluster_known_nodes:6")
                    && info.contains("cluster_size:3")
            })
        });
        until("the replicas follow", || {
            self.nodes
                .iter()
                .filter_map(|node| node.try_command(&["INFO", "replication"]))
                .all(|info| info.contains("role:master") || info.contains("master_link_status:up"))
        });
    }

    /// Returns the URLs of all nodes.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Server::url).collect()
    }

    /// Returns the number of the node that is the master of `key`. A restarted node may still believe that it is.
    pub(crate) fn master_of(&self, key: &str) -> usize {
        let mut found = None;
        until("a node is the master of the key", || {
            found = self.nodes.iter().position(|node| {
                // Another node answers with an error that names the master.
                node.try_command(&["EXISTS", key]).is_some_and(|answer| answer.starts_with(':'))
            });
            found.is_some()
        });
        found.expect("found above")
    }

    /// Kills the master of `key` with SIGKILL. Returns its number, for [`restart`](Self::restart).
    pub(crate) fn kill_master_of(&mut self, key: &str) -> usize {
        let number = self.master_of(key);
        self.nodes[number].kill();
        number
    }

    /// Kills the master of `key`, and waits until its replica has taken over.
    pub(crate) fn fail_over(&mut self, key: &str) -> usize {
        let killed = self.kill_master_of(key);
        self.master_of(key);
        killed
    }

    /// Starts a killed node again. It becomes a replica, if it was replaced.
    pub(crate) fn restart(&mut self, number: usize) {
        self.nodes[number].restart();
    }

    /// Returns a node.
    pub(crate) fn node(&self, number: usize) -> &Server {
        &self.nodes[number]
    }
}

/// Sends a command that is answered with OK.
#[track_caller]
fn done(node: &Server, words: &[&str]) {
    let answer = node.command(words);
    assert!(answer.starts_with("+OK"), "{words:?}: {answer}");
}

/// Returns the text in the answer of one bulk string.
fn text(answer: &str) -> &str {
    answer.lines().nth(1).unwrap_or_default()
}

/// The key of the heartbeat.
const PEERS: &str = "ripcord:{peers}";

fn client(cluster: &Cluster) -> Client {
    let builder = Client::builder().cluster(cluster.urls()).retry_every(Duration::from_millis(50));
    builder.build().expect("valid settings")
}

pub(crate) fn clients_of_a_cluster_see_each_other() {
    let cluster = Cluster::start();
    let (one, two) = (client(&cluster), client(&cluster));
    until("both are counted", || one.stats().peers == 2 && two.stats().peers == 2);
    drop(one);
    until("the other is counted no longer", || two.stats().peers == 1);
}

pub(crate) fn failed_master_of_a_cluster_is_replaced() {
    let mut cluster = Cluster::start();
    let client = client(&cluster);
    until("a heartbeat is answered", || client.stats().commands > 1 && client.is_available());
    let killed = cluster.kill_master_of(PEERS);
    until("a heartbeat fails", || !client.is_available());
    cluster.master_of(PEERS);
    until("the new master answers", || client.is_available());
    // The killed node comes back as a replica, and the next failover makes it the master again.
    cluster.restart(killed);
    cluster.settle();
    let replaced = cluster.fail_over(PEERS);
    assert_ne!(replaced, killed);
    until("the first master answers again", || client.is_available());
    assert_eq!(client.stats().peers, 1, "{:?}", client.stats());
}

pub(crate) fn cluster_without_full_coverage_serves_the_other_masters() {
    // No replica takes over.
    let settings = ["--cluster-require-full-coverage", "no", "--cluster-replica-no-failover", "yes"];
    let mut cluster = Cluster::with(&settings);
    let client = client(&cluster);
    until("a heartbeat is answered", || client.stats().commands > 1 && client.is_available());
    let other = (0..100).map(|number| format!("other:{number}"));
    let other = other.into_iter().find(|key| cluster.master_of(key) != cluster.master_of(PEERS));
    let killed = cluster.kill_master_of(&other.expect("a key of another master"));
    until("the failure is known", || {
        let info = cluster.node(cluster.master_of(PEERS)).command(&["CLUSTER", "INFO"]);
        !info.contains("cluster_slots_fail:0")
    });
    // A client that starts now needs a node that runs.
    let late = self::client(&cluster);
    until("the late client is counted", || client.stats().peers == 2 && late.stats().peers == 2);
    cluster.restart(killed);
}
