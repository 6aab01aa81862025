//! Inserts, removes, clears and closes during a load.

use std::sync::atomic::Ordering;

use shuttle::thread;

use super::{KEY, Model, OLD, Way, failed};
use crate::Error;
use crate::shuttle_models::explore;

#[test]
fn load_that_started_before_a_remove_or_clear_is_neither_stored_nor_joined_later() {
    for clears in [false, true] {
        explore(move || {
            let (model, _time) = Model::new(|cache| cache);
            let before = model.get_or_load(Way::SeesVersion);
            let after = {
                let model = model.clone();
                thread::spawn(move || {
                    model.source.version.store(1, Ordering::Relaxed);
                    match clears {
                        true => model.cache.clear(&model.ctx).unwrap(),
                        false => drop(model.cache.remove(&model.ctx, &KEY).unwrap()),
                    }
                    model.get_or_load(Way::SeesVersion).join().unwrap()
                })
            };
            assert!(before.join().unwrap().unwrap() <= 1);
            assert_eq!(after.join().unwrap().unwrap(), 1);
            model.at_rest();
            assert_eq!(model.cache.get(&model.ctx, KEY).unwrap(), Some(1));
        });
    }
}

#[test]
fn value_inserted_during_a_load_stays() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let loads = [model.get_or_load(Way::Succeeds), model.get_or_load(Way::Fails)];
        let insert = model.meanwhile(|model| {
            model.cache.insert(&model.ctx, KEY, OLD).unwrap();
            assert_eq!(model.cache.get(&model.ctx, KEY).unwrap(), Some(OLD));
        });
        insert.join().unwrap();
        for load in loads {
            let loaded = load.join().unwrap();
            // A load returns 2 if the load of the other caller failed before this load started.
            assert!(matches!(loaded, Ok(1 | 2 | OLD)) || failed(&loaded), "{loaded:?}");
        }
        model.at_rest();
        assert_eq!(model.cache.get(&model.ctx, KEY).unwrap(), Some(OLD));
    });
}

#[test]
fn refresh_returns_a_loaded_value_and_not_one_inserted_meanwhile() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let (asked, refreshed) = (model.get_or_load(Way::SeesVersion), model.refresh(Way::SeesVersion));
        let insert = model.meanwhile(|model| model.cache.insert(&model.ctx, KEY, OLD).unwrap());
        assert_eq!(refreshed.join().unwrap().unwrap(), 0, "loaded, not found");
        assert!(matches!(asked.join().unwrap().unwrap(), OLD | 0));
        insert.join().unwrap();
        model.at_rest();
    });
}

#[test]
fn close_cancels_loads_in_flight_and_leaves_no_entry() {
    for way in [Way::Succeeds, Way::Stays] {
        explore(move || {
            let (model, _time) = Model::new(|cache| cache);
            let loads = [model.get_or_load(way), model.refresh(way)];
            let close = model.meanwhile(|model| model.cache.close());
            for load in loads {
                let loaded = load.join().unwrap();
                assert!(loaded.as_ref().is_err_and(Error::is_rejected) || loaded.is_ok(), "{loaded:?}");
                assert!(way == Way::Succeeds || loaded.is_err());
            }
            close.join().unwrap();
            model.at_rest();
            assert_eq!(model.cache.len(), 0);
        });
    }
}

#[test]
fn value_inserted_while_the_cache_closes_does_not_stay() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let insert = {
            let model = model.clone();
            thread::spawn(move || model.cache.insert(&model.ctx, KEY, OLD))
        };
        model.meanwhile(|model| model.cache.close()).join().unwrap();
        assert!(insert.join().unwrap().map_or_else(|refused| refused.is_closed(), |()| true));
        assert_eq!(model.cache.len(), 0);
    });
}
