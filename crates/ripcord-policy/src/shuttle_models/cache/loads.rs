//! Callers that share a load, and callers that leave.

use ripcord::Canceler;
use shuttle::thread;

use super::{KEY, Leaving, Model, SECOND, Way, failed};
use crate::shuttle_models::explore;

#[test]
fn concurrent_callers_share_one_load() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let callers: Vec<_> = (0..3).map(|_| model.get_or_load(Way::Succeeds)).collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap().unwrap(), 1);
        }
        assert_eq!(model.at_rest(), 1);
    });
}

#[test]
fn refreshes_and_loads_of_a_key_do_not_run_at_the_same_time() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let callers = [model.get_or_load(Way::Succeeds), model.refresh(Way::Succeeds), model.refresh(Way::Succeeds)];
        let got: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap().unwrap()).collect();
        let last = u64::from(*got.iter().max().unwrap());
        assert_eq!((model.at_rest(), u64::from(model.cache.get(&model.ctx, KEY).unwrap().unwrap())), (last, last));
    });
}

#[test]
fn load_is_canceled_when_its_last_caller_leaves() {
    for leaving in [Leaving::Dropped, Leaving::ItsContextEnds] {
        explore(move || {
            let (model, _time) = Model::new(|cache| cache);
            let (callers, cancelers): (Vec<_>, Vec<_>) = (0..2).map(|_| model.leaves(leaving, Way::Stays)).unzip();
            let leave = thread::spawn(move || cancelers.iter().for_each(Canceler::cancel));
            for caller in callers {
                assert!(caller.join().unwrap().is_none_or(|loaded| loaded.unwrap_err().is_canceled()));
            }
            leave.join().unwrap();
            model.at_rest();
            assert_eq!(model.cache.stats().calls.canceled, model.cache.stats().calls.started);
        });
    }
}

#[test]
fn caller_that_joins_while_the_last_one_leaves_gets_a_value() {
    for leaving in [Leaving::Dropped, Leaving::ItsContextEnds] {
        explore(move || {
            let (model, _time) = Model::new(|cache| cache);
            let (leaves, canceler) = model.leaves(leaving, Way::Succeeds);
            let stays = model.get_or_load(Way::Succeeds);
            let leave = thread::spawn(move || canceler.cancel());
            leaves.join().unwrap();
            leave.join().unwrap();
            let got = stays.join().unwrap().unwrap();
            let started = model.at_rest();
            assert!(u64::from(got) <= started && started <= 2, "{got} of {started}");
            assert_eq!(model.cache.get(&model.ctx, KEY).unwrap(), Some(got));
        });
    }
}

#[test]
fn callers_dropped_at_any_time_leave_nothing_behind() {
    for way in [Way::Succeeds, Way::Fails] {
        explore(move || {
            let (model, _time) = Model::new(|cache| cache);
            let (callers, cancelers): (Vec<_>, Vec<_>) = (0..2).map(|_| model.leaves(Leaving::Dropped, way)).unzip();
            let leave = thread::spawn(move || cancelers.iter().for_each(Canceler::cancel));
            for caller in callers {
                assert!(caller.join().unwrap().is_none_or(|loaded| loaded.is_ok() == (way == Way::Succeeds)));
            }
            leave.join().unwrap();
            model.at_rest();
            let stats = model.cache.stats();
            assert_eq!(stats.inserted, stats.entries as u64 + stats.replaced, "{stats:?}");
            // A load that every caller has left may still return a value. It is not stored if another load has taken its place.
            assert!(stats.inserted <= stats.calls.succeeded, "{stats:?}");
            let value = model.cache.get(&model.ctx, KEY).unwrap();
            assert!(!value.is_some_and(|number| model.is_ended(number)), "the value may hold its load's context");
        });
    }
}

#[test]
fn caller_that_arrives_while_a_load_fails_gets_its_error_or_loads_again() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let callers: Vec<_> = (0..2).map(|_| model.get_or_load(Way::Fails)).collect();
        for caller in callers {
            assert!(failed(&caller.join().unwrap()));
        }
        let started = model.at_rest();
        assert_eq!((model.cache.stats().calls.failed, model.cache.len()), (started, 0));
    });
    // If the error is remembered, there is no other load.
    explore(|| {
        let (model, _time) = Model::new(|cache| cache.negative_ttl(SECOND));
        let callers: Vec<_> = (0..3).map(|_| model.get_or_load(Way::Fails)).collect();
        for caller in callers {
            assert!(failed(&caller.join().unwrap()));
        }
        assert_eq!((model.at_rest(), model.cache.len()), (1, 1));
    });
}

#[test]
fn caller_with_more_time_gets_a_value_when_it_joins_a_load_that_runs_out_of_time() {
    explore(|| {
        let (model, time) = Model::new(|cache| cache);
        let hurried = model.get_or_load_with(&model.ctx.with_timeout(SECOND), Way::Succeeds);
        let patient = [model.get_or_load(Way::Succeeds), model.get_or_load(Way::Succeeds)];
        let time_passes = thread::spawn(move || time.advance(SECOND));
        let hurried = hurried.join().unwrap();
        assert!(hurried.as_ref().map_or_else(|error| error.is_deadline_exceeded(), |value| *value == 1), "{hurried:?}");
        for caller in patient {
            assert!(matches!(caller.join().unwrap().unwrap(), 1 | 2));
        }
        time_passes.join().unwrap();
        assert!(model.at_rest() <= 2);
    });
}

#[test]
fn caller_that_joins_while_the_most_patient_one_leaves_gets_a_value() {
    explore(|| {
        let (model, time) = Model::new(|cache| cache);
        let hurried = model.get_or_load_with(&model.ctx.with_timeout(SECOND), Way::Succeeds);
        let (leaves, canceler) = model.leaves(Leaving::Dropped, Way::Succeeds);
        let joins = model.get_or_load(Way::Succeeds);
        let leave = thread::spawn(move || canceler.cancel());
        let time_passes = thread::spawn(move || time.advance(SECOND));
        assert!(joins.join().unwrap().is_ok());
        let hurried = hurried.join().unwrap();
        assert!(hurried.as_ref().map_or_else(|error| error.is_deadline_exceeded(), |_| true), "{hurried:?}");
        leaves.join().unwrap();
        leave.join().unwrap();
        time_passes.join().unwrap();
        assert!(model.at_rest() <= 3);
    });
}

#[test]
fn load_deadline_is_the_latest_limit_after_callers_joined_and_left() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let stays = model.get_or_load_with(&model.ctx.with_timeout(SECOND * 5), Way::Stays);
        while model.load_deadline().is_none() {
            thread::yield_now();
        }
        let others: Vec<_> = [SECOND * 10, SECOND * 20]
            .map(|timeout| {
                let (ctx, canceler) = model.ctx.with_timeout(timeout).with_cancel();
                (model.get_or_load_with(&ctx, Way::Stays), thread::spawn(move || canceler.cancel()))
            })
            .into();
        for (caller, leave) in others {
            leave.join().unwrap();
            assert!(caller.join().unwrap().unwrap_err().is_canceled());
        }
        // The load's task moves the deadline, and may not have run yet.
        let earliest = model.ctx.clock().now() + SECOND * 5;
        while model.load_deadline() != Some(earliest) {
            thread::yield_now();
        }
        model.cache.close();
        assert!(stays.join().unwrap().unwrap_err().is_closed());
        model.at_rest();
    });
}

#[test]
fn load_deadline_is_that_of_a_caller_that_joined_while_another_left() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let start = |seconds| model.get_or_load_with(&model.ctx.with_timeout(SECOND * seconds), Way::Stays);
        let stays = start(5);
        while model.load_deadline().is_none() {
            thread::yield_now();
        }
        let (ctx, canceler) = model.ctx.with_timeout(SECOND * 20).with_cancel();
        let leaves = model.get_or_load_with(&ctx, Way::Stays);
        let leave = thread::spawn(move || canceler.cancel());
        let joins = start(10);
        leave.join().unwrap();
        assert!(leaves.join().unwrap().unwrap_err().is_canceled());
        let latest = model.ctx.clock().now() + SECOND * 10;
        while model.load_deadline() != Some(latest) || model.cache.stats().coalesced == 0 {
            thread::yield_now();
        }
        model.cache.close();
        for caller in [stays, joins] {
            assert!(caller.join().unwrap().unwrap_err().is_closed());
        }
        model.at_rest();
    });
}

#[test]
fn context_of_a_loaded_value_outlives_the_deadline_although_a_caller_leaves_meanwhile() {
    explore(|| {
        let (model, time) = Model::new(|cache| cache);
        let stays = model.get_or_load_with(&model.ctx.with_timeout(SECOND), Way::Succeeds);
        let (leaves, canceler) = model.leaves(Leaving::Dropped, Way::Succeeds);
        let leave = thread::spawn(move || canceler.cancel());
        let time_passes = thread::spawn(move || time.advance(SECOND));
        let loaded = stays.join().unwrap();
        leaves.join().unwrap();
        leave.join().unwrap();
        time_passes.join().unwrap();
        model.at_rest();
        assert!(!loaded.is_ok_and(|number| model.is_ended(number)), "the value may hold its load's context");
        let kept = model.cache.get(&model.ctx, KEY).unwrap();
        assert!(!kept.is_some_and(|number| model.is_ended(number)));
    });
}
