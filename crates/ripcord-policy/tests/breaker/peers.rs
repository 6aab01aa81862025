//! Breakers that share their state with other processes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ripcord::{Clock, ManualTime};
use ripcord_policy::breaker::{
    Announcement, BreakerHandle, CircuitBreakerBuilder, Followed, SharedState, State, Transition,
};
use ripcord_policy::{CircuitBreaker, KeyedCircuitBreaker, Outcome};

/// Notes the breakers and what they announce.
#[derive(Clone, Default)]
struct Peers {
    breakers: Arc<Mutex<Vec<BreakerHandle>>>,
    announced: Arc<Mutex<Vec<Option<Announcement>>>>,
}

impl SharedState for Peers {
    fn connect(&self, breaker: BreakerHandle) -> Box<dyn Fn() + Send + Sync> {
        self.breakers.lock().unwrap().push(breaker.clone());
        let announced = Arc::clone(&self.announced);
        Box::new(move || announced.lock().unwrap().push(breaker.take_announcement()))
    }
}

impl Peers {
    fn handle(&self) -> BreakerHandle {
        self.breakers.lock().unwrap()[0].clone()
    }

    fn announced(&self) -> Vec<Option<Announcement>> {
        std::mem::take(&mut self.announced.lock().unwrap())
    }
}

const OPEN_FOR: Duration = Duration::from_secs(10);

fn builder(peers: &Peers) -> (CircuitBreakerBuilder, ManualTime) {
    let (clock, time) = Clock::manual();
    let builder = CircuitBreaker::builder("users").consecutive_failures(1).open_for(OPEN_FOR);
    (builder.clock(clock).shared(peers.clone()), time)
}

fn end(breaker: &CircuitBreaker, outcome: Outcome) {
    breaker.try_acquire().expect("admitted").record(outcome);
}

#[test]
fn own_changes_are_announced_and_those_of_peers_are_not() {
    let peers = Peers::default();
    let (builder, time) = builder(&peers);
    let breaker = builder.build().expect("valid");
    end(&breaker, Outcome::Failure);
    assert_eq!(peers.announced(), [Some(Announcement::Open(OPEN_FOR))]);
    time.advance(OPEN_FOR);
    end(&breaker, Outcome::Success);
    assert_eq!(peers.announced(), [Some(Announcement::Closed)]);
    let handle = peers.handle();
    assert_eq!(&**handle.name(), "users");
    assert_eq!((handle.open_for(OPEN_FOR), breaker.state()), (Followed::Changed, State::Open));
    assert_eq!((handle.close(), breaker.state()), (Followed::Changed, State::Closed));
    assert_eq!(peers.announced(), []);
    assert_eq!((breaker.stats().opened, breaker.stats().opened_by_peer), (2, 1));
    handle.open_for(OPEN_FOR);
    breaker.reset();
    assert_eq!(peers.announced(), [Some(Announcement::Closed)]);
}

#[test]
fn peer_makes_an_open_breaker_open_longer_but_not_shorter() {
    let peers = Peers::default();
    let (builder, time) = builder(&peers);
    let breaker = builder.build().expect("valid");
    end(&breaker, Outcome::Failure);
    assert_eq!(peers.handle().open_for(OPEN_FOR / 2), Followed::Unchanged);
    assert_eq!(breaker.remaining_delay(), Some(OPEN_FOR));
    assert_eq!(peers.handle().open_for(OPEN_FOR * 2), Followed::Changed);
    assert_eq!(breaker.remaining_delay(), Some(OPEN_FOR * 2));
    assert_eq!(breaker.stats().opened, 1);
    time.advance(OPEN_FOR * 2);
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(peers.handle().open_for(OPEN_FOR), Followed::Changed, "a probe of a peer has failed");
    assert_eq!(breaker.state(), State::Open);
}

#[test]
fn peer_makes_the_results_of_calls_in_flight_stale() {
    let peers = Peers::default();
    let (builder, time) = builder(&peers);
    let breaker = builder.build().expect("valid");
    let call = breaker.try_acquire().expect("admitted");
    peers.handle().open_for(OPEN_FOR);
    time.advance(OPEN_FOR);
    let probe = breaker.try_acquire().expect("a probe");
    peers.handle().close();
    call.failure();
    probe.failure();
    assert_eq!((breaker.state(), breaker.stats().stale), (State::Closed, 2));
}

#[test]
fn breaker_that_was_opened_by_hand_announces_nothing_and_obeys_no_peer() {
    let peers = Peers::default();
    let breaker = builder(&peers).0.build().expect("valid");
    breaker.force_open();
    assert_eq!(peers.announced(), [None], "other processes get nothing");
    assert_eq!(
        (peers.handle().close(), peers.handle().open_for(Duration::MAX)),
        (Followed::Unchanged, Followed::Unchanged)
    );
    assert_eq!((breaker.state(), breaker.remaining_delay()), (State::Open, Some(OPEN_FOR)));
    breaker.reset();
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(peers.handle().close(), Followed::Unchanged, "it is closed already");
}

/// Takes no announcement by itself, as an implementation that is still busy.
#[derive(Clone, Default)]
struct Busy(Arc<Mutex<Option<BreakerHandle>>>);

impl SharedState for Busy {
    fn connect(&self, breaker: BreakerHandle) -> Box<dyn Fn() + Send + Sync> {
        *self.0.lock().unwrap() = Some(breaker);
        Box::new(|| ())
    }
}

#[test]
fn change_of_a_peer_that_is_heard_before_the_own_change_is_announced_does_not_undo_it() {
    let busy = Busy::default();
    let (clock, _time) = Clock::manual();
    let builder = CircuitBreaker::builder("users").consecutive_failures(1).open_for(OPEN_FOR).clock(clock);
    let breaker = builder.shared(busy.clone()).build().expect("valid");
    let handle = busy.0.lock().unwrap().clone().expect("connected");
    // The peer has opened before the reset, and this process hears of it afterwards.
    breaker.force_open();
    breaker.reset();
    assert_eq!((handle.open_for(OPEN_FOR), breaker.state()), (Followed::Unannounced, State::Closed));
    assert_eq!((handle.take_announcement(), handle.take_announcement()), (Some(Announcement::Closed), None));
    assert_eq!((handle.open_for(OPEN_FOR), breaker.state()), (Followed::Changed, State::Open));
    assert_eq!(handle.take_announcement(), None, "the change of a peer is no news");
    // The same for a peer that has closed before this breaker opened.
    handle.close();
    end(&breaker, Outcome::Failure);
    assert_eq!((handle.close(), breaker.state()), (Followed::Unannounced, State::Open));
    assert_eq!(handle.take_announcement(), Some(Announcement::Open(OPEN_FOR)));
    assert_eq!((handle.close(), breaker.state()), (Followed::Changed, State::Closed));
}

#[test]
fn reset_of_a_closed_breaker_is_announced_because_the_others_may_be_open() {
    let peers = Peers::default();
    let breaker = builder(&peers).0.build().expect("valid");
    breaker.reset();
    assert_eq!(peers.announced(), [Some(Announcement::Closed)]);
}

#[test]
fn hook_learns_whether_a_peer_caused_the_change_and_may_panic() {
    let peers = Peers::default();
    let seen: Arc<Mutex<Vec<Transition>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let hook = move |transition: &Transition| {
        noted.lock().unwrap().push(transition.clone());
        assert!(!transition.is_by_peer, "the hook panics");
    };
    let breaker = builder(&peers).0.on_state_change(hook).build().expect("valid");
    assert_eq!((peers.handle().open_for(OPEN_FOR), breaker.state()), (Followed::Changed, State::Open));
    breaker.reset();
    let seen = seen.lock().unwrap();
    let seen: Vec<_> = seen.iter().map(|change| (change.to, change.is_by_peer)).collect();
    assert_eq!(seen, [(State::Open, true), (State::Closed, false)]);
}

#[test]
fn handle_does_not_keep_its_breaker() {
    let peers = Peers::default();
    let breaker = builder(&peers).0.build().expect("valid");
    let handle = peers.handle();
    assert!(handle.is_alive());
    drop(breaker);
    assert!(!handle.is_alive());
    assert_eq!((handle.open_for(OPEN_FOR), handle.close()), (Followed::Unchanged, Followed::Unchanged));
    assert_eq!((handle.announcement(), handle.take_announcement()), (None, None));
}

#[test]
fn each_key_is_shared_under_its_own_name() {
    let peers = Peers::default();
    let breakers = KeyedCircuitBreaker::new(builder(&peers).0).expect("valid");
    let breaker = breakers.get(&"a");
    let names: Vec<_> = peers.breakers.lock().unwrap().iter().map(|handle| handle.name().to_string()).collect();
    assert_eq!(names, ["users/a"], "the settings alone are no breaker");
    peers.handle().open_for(OPEN_FOR);
    assert_eq!(breaker.state(), State::Open);
    assert_eq!((breakers.stats().opened, breakers.stats().opened_by_peer), (1, 1));
}
