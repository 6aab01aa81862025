//! Circuit breakers that share their state.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ripcord::{Clock, ManualTime};
use ripcord_policy::breaker::State;
use ripcord_policy::{CircuitBreaker, KeyedCircuitBreaker, Outcome};
use ripcord_redis::{Client, SharedBreaker};

use crate::cluster::Cluster;
use crate::proxy::Proxy;
use crate::server::{PATIENCE, Server, client, patient, until};

const OPEN_FOR: Duration = Duration::from_secs(30);

/// One machine: a breaker that it shares with the other machines, on a manual clock.
struct Machine {
    client: Client,
    shared: SharedBreaker,
    breaker: CircuitBreaker,
    time: ManualTime,
}

impl Machine {
    /// Starts a machine that waits long for a busy server. A server that was killed refuses connections at once.
    fn start(server: &Server) -> Machine {
        Machine::over(&client(server))
    }

    /// Starts a machine that soon finds out that the server is paused.
    fn impatient(server: &Server) -> Machine {
        let client = Client::builder().url(server.url()).retry_every(Duration::from_millis(50));
        Machine::over(&client.build().expect("valid settings"))
    }

    fn over(client: &Client) -> Machine {
        let shared = SharedBreaker::new(client);
        let (clock, time) = Clock::manual();
        let builder = CircuitBreaker::builder("users").consecutive_failures(1).open_for(OPEN_FOR).clock(clock);
        let breaker = builder.shared(shared.clone()).build().expect("valid settings");
        let machine = Machine { client: client.clone(), shared, breaker, time };
        machine.settle();
        machine
    }

    /// Waits until the machine has received all messages that were published before.
    ///
    /// A second breaker of another name opens and closes again and again, until a first one has followed. What the first one reads
    /// while it connects may take the place of one message, but not of all.
    fn settle(&self) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("probe {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let build = |shared: &SharedBreaker| {
            let builder = CircuitBreaker::builder(name.clone()).consecutive_failures(1).open_for(OPEN_FOR);
            builder.shared(shared.clone()).build().expect("valid settings")
        };
        let (first, second) = (build(&self.shared), build(&SharedBreaker::new(&self.client)));
        for _ in 0..3 {
            second.try_acquire().expect("admitted").failure();
            until("a change is heard", || first.state() == State::Open);
            second.reset();
            until("a change is heard", || first.state() == State::Closed);
        }
    }

    fn end(&self, outcome: Outcome) {
        self.breaker.try_acquire().expect("admitted").record(outcome);
    }

    #[track_caller]
    fn becomes(&self, state: State) {
        until(&format!("the breaker is {state}"), || self.breaker.state() == state);
    }
}

/// Returns the epoch of the last change of the breaker.
fn epoch(server: &Server) -> String {
    server.command(&["HGET", "ripcord:breaker:users", "epoch"]).lines().nth(1).expect("an epoch").to_owned()
}

pub(crate) fn breakers_of_all_machines_open_and_close_together() {
    let server = Server::start();
    let machines: Vec<Machine> = (0..3).map(|_| Machine::start(&server)).collect();
    let before = machines[1].shared.stats();
    machines[0].end(Outcome::Failure);
    machines.iter().for_each(|machine| machine.becomes(State::Open));
    let delays: Vec<_> = machines.iter().map(|machine| machine.breaker.remaining_delay().expect("open")).collect();
    assert_eq!(delays[0], OPEN_FOR);
    assert_eq!(delays[1..], [OPEN_FOR + OPEN_FOR / 10; 2], "the others wait for the probe of the first");
    // The first probes alone.
    machines.iter().for_each(|machine| machine.time.advance(OPEN_FOR));
    assert_eq!(machines[0].breaker.state(), State::HalfOpen);
    assert!(machines[1..].iter().all(|machine| machine.breaker.state() == State::Open));
    machines[0].end(Outcome::Success);
    machines.iter().for_each(|machine| machine.becomes(State::Closed));
    assert_eq!((machines[1].breaker.stats().opened, machines[1].breaker.stats().opened_by_peer), (1, 1));
    assert_eq!((machines[0].breaker.stats().opened, machines[0].breaker.stats().opened_by_peer), (1, 0));
    until("the changes are counted", || {
        let after = machines[1].shared.stats();
        (after.opened - before.opened, after.closed - before.closed) == (1, 1)
    });
}

pub(crate) fn failed_probe_of_one_machine_keeps_all_open() {
    let server = Server::start();
    let (one, two) = (Machine::start(&server), Machine::start(&server));
    one.end(Outcome::Failure);
    two.becomes(State::Open);
    [&one, &two].iter().for_each(|machine| machine.time.advance(OPEN_FOR));
    one.end(Outcome::Failure);
    until("the other stays open", || two.breaker.remaining_delay().is_some_and(|left| left >= OPEN_FOR));
    // The first makes no more calls. The second probes a tenth later, and its success closes both.
    two.time.advance(OPEN_FOR + OPEN_FOR / 10);
    assert_eq!(two.breaker.state(), State::HalfOpen);
    two.end(Outcome::Success);
    one.becomes(State::Closed);
}

pub(crate) fn machine_that_starts_later_opens_for_the_rest_of_the_time() {
    let server = Server::start();
    let one = Machine::start(&server);
    one.end(Outcome::Failure);
    until("it is published", || one.shared.stats().published >= 1 && one.breaker.state() == State::Open);
    until("Redis has it", || server.command(&["EXISTS", "ripcord:breaker:users"]) == ":1\r\n");
    let late = Machine::start(&server);
    late.becomes(State::Open);
    let left = late.breaker.remaining_delay().expect("open");
    assert!(left <= OPEN_FOR + OPEN_FOR / 10 && left > OPEN_FOR / 2, "{left:?}");
    one.breaker.reset();
    late.becomes(State::Closed);
    let later = Machine::start(&server);
    assert_eq!(later.breaker.state(), State::Closed);
}

pub(crate) fn breaker_opened_by_hand_is_not_shared_and_a_reset_closes_all() {
    let server = Server::start();
    let (one, two) = (Machine::start(&server), Machine::start(&server));
    one.breaker.force_open();
    one.settle();
    two.settle();
    assert_eq!(two.breaker.state(), State::Closed);
    two.end(Outcome::Failure);
    two.time.advance(OPEN_FOR);
    two.end(Outcome::Success);
    two.settle();
    one.settle();
    assert_eq!(one.breaker.state(), State::Open, "only a reset closes it");
    let before = epoch(&server);
    two.end(Outcome::Failure);
    until("the change is in Redis", || epoch(&server) != before);
    one.breaker.reset();
    two.becomes(State::Closed);
    assert_eq!(one.breaker.state(), State::Closed);
}

pub(crate) fn late_message_does_not_open_a_breaker_that_has_closed_since() {
    let server = Server::start();
    let (one, two) = (Machine::start(&server), Machine::start(&server));
    one.end(Outcome::Failure);
    two.becomes(State::Open);
    let last = epoch(&server);
    one.breaker.reset();
    two.becomes(State::Closed);
    let message = |epoch: &str| {
        let (kind, open_for) = ("\"kind\":\"breaker\",\"name\":\"users\"", "\"open_for\":\"30000\",\"by\":\"0\"");
        let text = format!("{{{kind},\"epoch\":\"{epoch}\",{open_for}}}");
        server.command(&["PUBLISH", "ripcord:events", &text]);
    };
    message(&last);
    one.settle();
    two.settle();
    assert_eq!((one.breaker.state(), two.breaker.state()), (State::Closed, State::Closed));
    // The same message with a later epoch opens them.
    message("9007199254740992");
    one.becomes(State::Open);
    two.becomes(State::Open);
}

pub(crate) fn breakers_work_alone_without_redis_and_tell_the_others_afterwards() {
    let mut server = Server::start();
    let (one, two) = (Machine::start(&server), Machine::start(&server));
    server.kill();
    one.end(Outcome::Failure);
    assert_eq!((one.breaker.state(), two.breaker.state()), (State::Open, State::Closed));
    two.end(Outcome::Success);
    until("the change could not be sent", || one.shared.stats().failed >= 1);
    assert_eq!(two.breaker.state(), State::Closed);
    server.restart();
    two.becomes(State::Open);
    // A breaker that closed during an outage does not close the others.
    server.kill();
    let failed = one.shared.stats().failed;
    one.time.advance(OPEN_FOR);
    one.end(Outcome::Success);
    assert_eq!(one.breaker.state(), State::Closed);
    until("the change could not be sent", || one.shared.stats().failed > failed);
    server.restart();
    one.settle();
    two.settle();
    assert_eq!((one.breaker.state(), two.breaker.state()), (State::Closed, State::Open));
}

pub(crate) fn late_change_of_its_own_does_not_open_a_breaker_that_has_closed_since() {
    let server = Server::start();
    let one = Machine::impatient(&server);
    server.pause();
    let (paused, failed) = (Instant::now(), one.shared.stats().failed);
    // The server gets the change and does not answer. Meanwhile the breaker closes.
    one.end(Outcome::Failure);
    until("no answer came", || one.shared.stats().failed > failed);
    one.time.advance(OPEN_FOR);
    one.end(Outcome::Success);
    until("the pause is over", || paused.elapsed() > Duration::from_secs(2));
    server.resume();
    one.settle();
    assert_eq!(one.breaker.state(), State::Closed);
}

pub(crate) fn change_that_could_not_be_published_does_not_override_a_later_reset() {
    let server = Server::start();
    let proxy = Proxy::start(server.port);
    let client =
        Client::builder().url(proxy.url()).timeout(Duration::from_secs(5)).retry_every(Duration::from_millis(50));
    let (one, two) = (Machine::over(&client.build().expect("valid settings")), Machine::start(&server));
    one.settle();
    // The name is a separate argument only in the command that publishes a change.
    let held = proxy.hold_at("\r\nusers\r\n");
    let failed = one.shared.stats().failed;
    one.end(Outcome::Failure);
    let heard = || one.shared.stats().received;
    let before = heard();
    two.end(Outcome::Failure);
    until("the change of the other is heard", || heard() > before);
    let before = heard();
    two.breaker.reset();
    until("the reset by the other is heard", || heard() > before);
    until("no answer came", || one.shared.stats().failed > failed);
    one.becomes(State::Closed);
    drop(held);
    one.settle();
    two.settle();
    assert_eq!((one.breaker.state(), two.breaker.state()), (State::Closed, State::Closed));
}

pub(crate) fn calls_do_not_wait_for_a_paused_server() {
    let server = Server::start();
    let (one, two) = (Machine::impatient(&server), Machine::impatient(&server));
    server.pause();
    let start = Instant::now();
    one.end(Outcome::Failure);
    for _ in 0..10_000 {
        assert!(one.breaker.try_acquire().is_err());
        two.end(Outcome::Success);
    }
    // 20,000 calls that each wait for the timeout would take hours.
    let took = start.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    until("the pause is over", || start.elapsed() > Duration::from_secs(2));
    server.resume();
    two.becomes(State::Open);
}

pub(crate) fn client_clocks_one_minute_apart_change_nothing_for_breakers() {
    let server = Server::start();
    let (one, two) = (Machine::start(&server), Machine::start(&server));
    one.time.advance(Duration::from_secs(60));
    one.end(Outcome::Failure);
    two.becomes(State::Open);
    assert_eq!(two.breaker.remaining_delay(), Some(OPEN_FOR + OPEN_FOR / 10));
}

pub(crate) fn breakers_follow_a_failover_of_a_cluster() {
    let mut cluster = Cluster::start();
    let machine = || Machine::over(&patient(Client::builder().cluster(cluster.urls())));
    let (one, two) = (machine(), machine());
    cluster.fail_over("ripcord:breaker:users");
    one.end(Outcome::Failure);
    two.becomes(State::Open);
    // A breaker that closes during an outage does not close the others.
    cluster.settle();
    until("the clients are connected again", || one.client.is_available() && two.client.is_available());
    one.time.advance(OPEN_FOR);
    one.end(Outcome::Success);
    two.becomes(State::Closed);
}

pub(crate) fn breakers_of_keys_are_shared_and_forgotten() {
    let server = Server::start();
    let shared = SharedBreaker::new(&client(&server));
    let each = || CircuitBreaker::builder("hosts").consecutive_failures(1).shared(shared.clone());
    let one = KeyedCircuitBreaker::<String>::new(each()).expect("valid settings");
    let two = KeyedCircuitBreaker::<String>::new(each()).expect("valid settings");
    one.get(&"a".to_owned()).try_acquire().expect("admitted").failure();
    let (same, other) = (two.get(&"a".to_owned()), two.get(&"b".to_owned()));
    until("the same key is open", || same.state() == State::Open);
    assert_eq!(other.state(), State::Closed);
    drop((one, two, same, other));
    until("no breaker is left", || shared.stats().breakers == 0);
}
