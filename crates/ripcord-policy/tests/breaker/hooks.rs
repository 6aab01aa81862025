//! Hooks of the user, and panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ripcord::Context;
use ripcord_policy::breaker::{State, Transition};
use ripcord_policy::{CircuitBreaker, Outcome};

use crate::common::{SECOND, builder, call_blocking, fail, succeed};

#[test]
fn panic_of_a_hook_or_classifier_harms_only_its_own_call() {
    let (builder, _time) = builder();
    let breaker = builder
        .consecutive_failures(2)
        .on_state_change(|_| panic!("hook"))
        .classify(
            |result: &Result<(), &str>| if *result == Err("panic") { panic!("classifier") } else { Outcome::Failure },
        )
        .build()
        .unwrap();
    let ctx = Context::background();
    let call = |error| catch_unwind(AssertUnwindSafe(|| call_blocking(&breaker, &ctx, |_| Err::<(), _>(error))));
    assert!(call("panic").is_err());
    assert!(call("down").is_ok());
    assert!(call("down").is_err(), "the hook of the change");
    assert_eq!(breaker.state(), State::Open);
    let stats = breaker.stats();
    assert_eq!((stats.calls.started, stats.calls.failed, stats.calls.canceled), (3, 2, 1));
}

#[test]
fn hook_runs_for_every_change_and_may_use_the_breaker() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let breaker: Arc<Mutex<Option<CircuitBreaker>>> = Arc::default();
    let (builder, time) = builder();
    let (log, inner) = (Arc::clone(&seen), Arc::clone(&breaker));
    let built = builder.consecutive_failures(1).open_for(SECOND).on_state_change(move |change| {
        let state = inner.lock().unwrap().as_ref().unwrap().state();
        log.lock().unwrap().push(format!("[{}] {} to {}, now {state}", change.name, change.from, change.to));
    });
    let built = built.build().unwrap();
    *breaker.lock().unwrap() = Some(built.clone());
    fail(&built, 1);
    time.advance(SECOND);
    succeed(&built, 1);
    assert_eq!(
        *seen.lock().unwrap(),
        [
            "[test] CLOSED to OPEN, now OPEN",
            "[test] OPEN to HALF-OPEN, now HALF-OPEN",
            "[test] HALF-OPEN to CLOSED, now CLOSED"
        ]
    );
}

#[test]
fn panicking_hook_frees_the_probe_and_runs_for_the_other_changes() {
    let told = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&told);
    let (builder, time) = builder();
    let hook = move |_: &Transition| {
        counts.fetch_add(1, Ordering::Relaxed);
        panic!("hook");
    };
    let breaker = builder.consecutive_failures(1).open_for(SECOND).half_open_timeout(2 * SECOND).on_state_change(hook);
    let breaker = breaker.build().unwrap();
    let panics = |f: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
    panics(&|| fail(&breaker, 1));
    time.advance(SECOND);
    panics(&|| drop(breaker.try_acquire()));
    assert_eq!((breaker.state(), told.load(Ordering::Relaxed)), (State::HalfOpen, 2));
    let probe = breaker.try_acquire().expect("the place of the call that the hook ended is free");
    // The probe hangs. The breaker opens and is half-open again before the next call: two changes at once.
    time.advance(3 * SECOND);
    panics(&|| drop(breaker.try_acquire()));
    assert_eq!(told.load(Ordering::Relaxed), 4);
    drop(probe);
    panics(&|| breaker.try_acquire().expect("its place is free as well").success());
    assert_eq!(breaker.state(), State::Closed);
    let stats = breaker.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
}

/// The payload of a hook's panic.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(1);
    }
}

#[test]
fn hook_with_a_panicking_payload_frees_the_probe() {
    let (builder, time) = builder();
    let breaker = builder
        .consecutive_failures(1)
        .open_for(SECOND)
        .half_open_timeout(2 * SECOND)
        .on_state_change(|_| std::panic::panic_any(Bomb));
    let breaker = breaker.build().unwrap();
    // The payloads are leaked, so that they do not panic when they are dropped.
    let panics = |f: &dyn Fn()| std::mem::forget(catch_unwind(AssertUnwindSafe(f)).unwrap_err());
    panics(&|| fail(&breaker, 1));
    time.advance(SECOND);
    panics(&|| drop(breaker.try_acquire()));
    let probe = breaker.try_acquire().unwrap();
    // Two changes run the hook twice. The caller gets one panic.
    time.advance(3 * SECOND);
    panics(&|| drop(breaker.try_acquire()));
    drop(probe);
    let probe = breaker.try_acquire().expect("the place of the call that the hook ended is free");
    // A second panic would abort the process. This probe is dropped while another panic unwinds, and has timed out.
    time.advance(2 * SECOND);
    let unwinds = catch_unwind(AssertUnwindSafe(|| {
        let _probe = probe;
        panic!("the call");
    }));
    assert_eq!(unwinds.unwrap_err().downcast_ref(), Some(&"the call"));
    assert_eq!(breaker.state(), State::Open);
}
