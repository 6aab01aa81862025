//! Models of the circuit breaker: the admission of calls, the counters, and the breakers of other processes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ripcord::Clock;
use shuttle::thread;

use super::explore;
use crate::breaker::{Announcement, BreakerHandle, CircuitBreaker, Followed, SharedState, State};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn probes_run_one_at_a_time_and_none_is_lost() {
    explore(|| {
        let (clock, time) = Clock::manual();
        let breaker = CircuitBreaker::builder("backend").consecutive_failures(1).open_for(SECOND).clock(clock);
        let breaker = Arc::new(breaker.half_open_calls(1).half_open_successes(1).build().unwrap());
        breaker.try_acquire().unwrap().failure();
        time.advance(SECOND);
        let (now, through) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..3)
            .map(|caller| {
                let (breaker, now, through) = (Arc::clone(&breaker), Arc::clone(&now), Arc::clone(&through));
                thread::spawn(move || {
                    let Ok(permit) = breaker.try_acquire() else { return };
                    through.fetch_add(1, Ordering::Relaxed);
                    if breaker.state() == State::HalfOpen {
                        assert_eq!(now.fetch_add(1, Ordering::Relaxed), 0, "a second probe beside the first");
                        thread::yield_now();
                        now.fetch_sub(1, Ordering::Relaxed);
                    }
                    match caller {
                        // A neutral outcome: the next caller may probe.
                        0 => drop(permit),
                        _ => permit.success(),
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert!(through.load(Ordering::Relaxed) >= 1);
        // A dropped probe has freed its slot.
        breaker.try_acquire().unwrap().success();
        assert_eq!(breaker.state(), State::Closed);
        let stats = breaker.stats();
        assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    });
}

#[test]
fn failures_in_a_row_among_threads_open_it_once() {
    explore(|| {
        let (clock, _time) = Clock::manual();
        let breaker = CircuitBreaker::builder("backend").consecutive_failures(2).open_for(SECOND).clock(clock);
        let breaker = Arc::new(breaker.build().unwrap());
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let breaker = Arc::clone(&breaker);
                thread::spawn(move || {
                    if let Ok(permit) = breaker.try_acquire() {
                        permit.failure();
                    }
                })
            })
            .collect();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(breaker.state(), State::Open);
        assert_eq!(breaker.stats().opened, 1);
    });
}

/// Publishes each change at once, on the thread of the change.
#[derive(Clone, Default)]
struct Peer {
    handle: Arc<Mutex<Option<BreakerHandle>>>,
    announced: Arc<Mutex<Vec<Announcement>>>,
}

impl SharedState for Peer {
    fn connect(&self, breaker: BreakerHandle) -> Box<dyn Fn() + Send + Sync> {
        *self.handle.lock().unwrap() = Some(breaker.clone());
        let announced = Arc::clone(&self.announced);
        Box::new(move || {
            // Not under the lock, which shuttle does not know.
            let taken = breaker.take_announcement();
            announced.lock().unwrap().extend(taken);
        })
    }
}

impl Peer {
    fn breaker(&self) -> (Arc<CircuitBreaker>, BreakerHandle) {
        let (clock, _time) = Clock::manual();
        let breaker = CircuitBreaker::builder("backend").consecutive_failures(1).open_for(SECOND).clock(clock);
        let breaker = Arc::new(breaker.shared(self.clone()).build().unwrap());
        let handle = self.handle.lock().unwrap().clone().unwrap();
        (breaker, handle)
    }

    fn announced(&self) -> Vec<Announcement> {
        self.announced.lock().unwrap().clone()
    }
}

#[test]
fn reset_is_announced_although_a_peer_opens_the_breaker_at_the_same_time() {
    explore(|| {
        let peer = Peer::default();
        let (breaker, handle) = peer.breaker();
        breaker.force_open();
        let resetting = {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || breaker.reset())
        };
        let followed = handle.open_for(SECOND);
        resetting.join().unwrap();
        assert_eq!(peer.announced(), [Announcement::Closed]);
        // Before the reset, the breaker ignores the peer. Before the announcement, the peer's change is the older one.
        let state = if followed == Followed::Changed { State::Open } else { State::Closed };
        assert_eq!(breaker.state(), state, "{followed:?}");
    });
}

#[test]
fn own_opening_is_announced_although_a_peer_opens_and_closes_the_breaker_at_the_same_time() {
    explore(|| {
        let peer = Peer::default();
        let (breaker, handle) = peer.breaker();
        let calling = {
            let breaker = Arc::clone(&breaker);
            thread::spawn(move || {
                if let Ok(permit) = breaker.try_acquire() {
                    thread::yield_now();
                    permit.failure();
                }
            })
        };
        let changes = [handle.open_for(SECOND), handle.close()];
        calling.join().unwrap();
        let stats = breaker.stats();
        assert_eq!(stats.opened_by_peer, u64::from(changes[0] == Followed::Changed), "{changes:?} {stats:?}");
        // A call that was admitted before the peer's changes and ends after them opens nothing.
        let own = usize::try_from(stats.opened - stats.opened_by_peer).unwrap();
        assert_eq!(peer.announced(), [Announcement::Open(SECOND)][..own], "{changes:?} {stats:?}");
        let is_closed_last = changes[1] == Followed::Changed || own == 0;
        assert!(stats.state == State::Open || is_closed_last, "{changes:?} {stats:?}");
    });
}
