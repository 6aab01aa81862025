//! A breaker per key.

use futures::executor::block_on;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::breaker::State;
use ripcord_policy::{CircuitBreaker, Error, KeyedCircuitBreaker};

use crate::common::SECOND;

/// Returns breakers that open for a second after one failure.
fn breakers() -> (KeyedCircuitBreaker<u32>, ManualTime) {
    let (clock, time) = Clock::manual();
    let each = CircuitBreaker::builder("hosts").consecutive_failures(1).open_for(SECOND);
    (KeyedCircuitBreaker::builder(each).clock(clock).build().unwrap(), time)
}

fn call(breakers: &KeyedCircuitBreaker<u32>, key: u32, ok: bool) -> Result<(), Error<&'static str>> {
    let result = if ok { Ok(()) } else { Err("service error") };
    block_on(breakers.run(&Context::background(), &key, |_| async move { result }))
}

#[test]
fn failure_of_one_key_opens_the_breaker_of_that_key_alone() {
    let (breakers, time) = breakers();
    assert!(call(&breakers, 1, false).is_err());
    let refused = call(&breakers, 1, true).unwrap_err();
    assert_eq!(refused.to_string(), "circuit breaker 'hosts/1' is OPEN");
    assert!(call(&breakers, 2, true).is_ok());
    assert_eq!((breakers.stats().open, breakers.stats().half_open), (1, 0));
    time.advance(SECOND);
    assert_eq!((breakers.stats().open, breakers.stats().half_open), (0, 1), "the clock is that of the builder");
    assert!(call(&breakers, 1, true).is_ok());
    assert_eq!(breakers.get(&1).state(), State::Closed);
}

#[test]
fn statistics_are_summed_over_the_keys_and_keep_those_of_forgotten_breakers() {
    let (breakers, _time) = breakers();
    assert!(call(&breakers, 0, false).is_err());
    assert!(call(&breakers, 0, true).is_err(), "it is open");
    for key in 1..=1000 {
        assert!(call(&breakers, key, true).is_ok());
    }
    let stats = breakers.clone().stats();
    assert_eq!((stats.calls.started, stats.calls.succeeded), (1001, 1000));
    assert_eq!((stats.calls.failed, stats.calls.rejected, stats.opened), (1, 1, 1));
    assert!(stats.breakers < 200, "idle breakers are forgotten: {}", stats.breakers);
    assert_eq!(stats.open, 1, "an open breaker is not forgotten");
}

#[test]
fn breaker_with_a_call_in_flight_is_not_forgotten() {
    let (breakers, _time) = breakers();
    let held = breakers.get(&0);
    let permit = held.try_acquire().unwrap();
    for key in 1..=1000 {
        assert!(call(&breakers, key, true).is_ok());
    }
    permit.failure();
    assert!(call(&breakers, 0, true).is_err(), "the failure opened the breaker of the key");
}

#[test]
fn setting_out_of_bounds_is_named_when_the_breakers_are_built() {
    let each = CircuitBreaker::builder("hosts").half_open_calls(0);
    assert_eq!(KeyedCircuitBreaker::<u32>::new(each).unwrap_err().field(), "half_open_calls");
}
