//! A master, its replica, and three sentinels that watch them, and tests of the client with them.

use ripcord_redis::Client;

use crate::server::{Server, patient, until};

/// The name that the sentinels give to the master.
const NAME: &str = "main";

/// Two servers, of which one is the master, and three sentinels. All are killed when this is dropped.
pub(crate) struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Watched {
    pub(crate) fn start() -> Watched {
        let master = Server::start();
        let port = master.port;
        let replica = Server::with(&["--replicaof", "127.0.0.1", &port.to_string()]);
        let info = || replica.try_command(&["INFO", "replication"]).unwrap_or_default();
        until("the replica follows", || info().contains("master_link_status:up"));
        let lines = format!(
            "sentinel monitor {NAME} 127.0.0.1 {port} 2\n\
             sentinel down-after-milliseconds {NAME} 2000\n\
             sentinel failover-timeout {NAME} 3000\n"
        );
        let sentinels: Vec<Server> = (0..3).map(|_| Server::sentinel(&lines)).collect();
        let watched = Watched { servers: vec![master, replica], sentinels };
        watched.settle();
        watched
    }

    /// Waits until each sentinel knows the other sentinels, and that the replica follows the master.
    pub(crate) fn settle(&self) {
        until("the sentinels are ready", || {
            self.sentinels.iter().all(|sentinel| {
                let info = sentinel.try_command(&["INFO", "sentinel"]).unwrap_or_default();
                info.contains("status=ok") && info.contains("slaves=1") && info.contains("sentinels=3")
            })
        });
        until("the replica follows", || {
            // A server that the sentinels make a replica closes the connections of its clients.
            let infos = self.servers.iter().filter_map(|server| server.try_command(&["INFO", "replication"]));
            infos.filter(|info| info.contains("master_link_status:up")).count() == 1
        });
    }

    pub(crate) fn client(&self) -> Client {
        let urls: Vec<String> = self.sentinels.iter().map(Server::url).collect();
        patient(Client::builder().sentinel(NAME, urls, "redis://unused"))
    }

    /// Returns the number of the server that most sentinels name as the master.
    fn master(&self) -> Option<usize> {
        let named = |port: u16| {
            let ask = |sentinel: &Server| sentinel.try_command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
            let answers = self.sentinels.iter().filter_map(ask);
            answers.filter(|answer| answer.contains(&format!("\r\n{port}\r\n"))).count()
        };
        self.servers.iter().position(|server| named(server.port) >= 2)
    }

    /// Returns the master's description of its replica. It is empty if no master answers.
    pub(crate) fn master_info(&self) -> String {
        self.master().and_then(|master| self.servers[master].try_command(&["INFO", "replication"])).unwrap_or_default()
    }

    /// Kills the master, and waits until the other server is the master. Returns the number of the killed server.
    pub(crate) fn fail_over(&mut self) -> usize {
        let killed = self.master().expect("a master");
        self.servers[killed].kill();
        until("the replica is the master", || self.master() == Some(1 - killed));
        killed
    }

    /// Starts a killed server again. The sentinels make it a replica.
    pub(crate) fn restart(&mut self, number: usize) {
        self.servers[number].restart();
    }
}

pub(crate) fn clients_through_sentinels_see_each_other() {
    let watched = Watched::start();
    let (one, two) = (watched.client(), watched.client());
    until("both are counted", || one.stats().peers == 2 && two.stats().peers == 2);
}

pub(crate) fn master_that_sentinels_replace_is_found_again() {
    let mut watched = Watched::start();
    let client = watched.client();
    until("a heartbeat is answered", || client.stats().commands > 1 && client.is_available());
    let killed = watched.fail_over();
    until("the new master answers", || client.is_available());
    assert!(client.stats().reconnects >= 1, "{:?}", client.stats());
    watched.restart(killed);
    watched.settle();
    watched.fail_over();
    until("the first master answers again", || client.is_available());
}

pub(crate) fn hung_sentinel_keeps_no_client_from_the_master() {
    let watched = Watched::start();
    watched.sentinels[0].pause();
    let client = watched.client();
    until("a heartbeat is answered", || client.stats().commands > 1);
    assert_eq!(client.stats().failures, 0, "{:?}", client.stats());
}
