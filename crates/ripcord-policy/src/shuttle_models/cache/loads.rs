//! Who shares a load, and what becomes of it when they leave.

use ripcord::Canceler;
use shuttle::thread;

use super::{KEY, Leaving, Model, SECOND, Way};
use crate::shuttle_models::explore;

#[test]
fn a_key_is_loaded_once_whoever_boards_first() {
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
fn a_key_is_not_loaded_twice_at_a_time_though_some_want_it_anew() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let callers = [model.get_or_load(Way::Succeeds), model.refresh(Way::Succeeds), model.refresh(Way::Succeeds)];
        let got: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap().unwrap()).collect();
        let last = u64::from(*got.iter().max().unwrap());
        assert_eq!((model.at_rest(), u64::from(model.cache.get(&model.ctx, KEY).unwrap().unwrap())), (last, last));
    });
}

#[test]
fn the_last_callers_leaving_ends_the_load() {
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
fn who_boards_as_the_last_caller_leaves_keeps_the_load_or_begins_another() {
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
fn whenever_callers_are_dropped_nothing_of_them_is_left() {
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
            assert_eq!(stats.inserted, stats.entries + stats.replaced, "{stats:?}");
            // What everybody has left may bring a value all the same. It is not kept if another load took its place by then.
            assert!(stats.inserted <= stats.calls.succeeded, "{stats:?}");
        });
    }
}

#[test]
fn who_arrives_as_a_load_fails_gets_its_error_or_another() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let callers: Vec<_> = (0..2).map(|_| model.get_or_load(Way::Fails)).collect();
        for caller in callers {
            assert!(caller.join().unwrap().is_err_and(|error| error.last().is_some()));
        }
        let started = model.at_rest();
        assert_eq!((model.cache.stats().calls.failed, model.cache.len()), (started, 0));
    });
    // Where it is remembered there is no other.
    explore(|| {
        let (model, _time) = Model::new(|cache| cache.negative_ttl(SECOND));
        let callers: Vec<_> = (0..3).map(|_| model.get_or_load(Way::Fails)).collect();
        for caller in callers {
            assert!(caller.join().unwrap().is_err_and(|error| error.last().is_some()));
        }
        assert_eq!((model.at_rest(), model.cache.len()), (1, 1));
    });
}
