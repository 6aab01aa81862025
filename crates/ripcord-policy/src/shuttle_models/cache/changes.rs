//! What is done to a key, or to all, while it is being loaded.

use std::sync::atomic::Ordering;

use shuttle::thread;

use super::{KEY, Model, OLD, Way};
use crate::Error;
use crate::shuttle_models::explore;

#[test]
fn what_was_loaded_before_a_change_is_not_kept_nor_given_to_who_comes_after() {
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
                        false => drop(model.cache.remove(&model.ctx, KEY).unwrap()),
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
fn what_is_put_in_during_a_load_is_kept() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let loads = [model.get_or_load(Way::Succeeds), model.get_or_load(Way::Fails)];
        let puts_in = model.meanwhile(|model| {
            model.cache.insert(&model.ctx, KEY, OLD).unwrap();
            assert_eq!(model.cache.get(&model.ctx, KEY).unwrap(), Some(OLD));
        });
        puts_in.join().unwrap();
        for load in loads {
            let loaded = load.join().unwrap();
            let failed = loaded.as_ref().is_err_and(|error| error.last().is_some());
            assert!(failed || matches!(loaded, Ok(1 | OLD)), "{loaded:?}");
        }
        model.at_rest();
        assert_eq!(model.cache.get(&model.ctx, KEY).unwrap(), Some(OLD));
    });
}

#[test]
fn what_is_put_in_meanwhile_is_not_what_a_refresh_returns() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let (asked, refreshed) = (model.get_or_load(Way::SeesVersion), model.refresh(Way::SeesVersion));
        let puts_in = model.meanwhile(|model| model.cache.insert(&model.ctx, KEY, OLD).unwrap());
        assert_eq!(refreshed.join().unwrap().unwrap(), 0, "loaded, not found");
        assert!(matches!(asked.join().unwrap().unwrap(), OLD | 0));
        puts_in.join().unwrap();
        model.at_rest();
    });
}

#[test]
fn a_close_calls_off_what_is_under_way_and_leaves_nothing() {
    for way in [Way::Succeeds, Way::Stays] {
        explore(move || {
            let (model, _time) = Model::new(|cache| cache);
            let loads = [model.get_or_load(way), model.refresh(way)];
            let closes = model.meanwhile(|model| model.cache.close());
            for load in loads {
                let loaded = load.join().unwrap();
                assert!(loaded.as_ref().is_err_and(Error::is_rejected) || loaded.is_ok(), "{loaded:?}");
                assert!(way == Way::Succeeds || loaded.is_err());
            }
            closes.join().unwrap();
            model.at_rest();
            assert_eq!(model.cache.len(), 0);
        });
    }
}

#[test]
fn what_is_put_in_as_the_cache_closes_does_not_stay() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let puts_in = {
            let model = model.clone();
            thread::spawn(move || model.cache.insert(&model.ctx, KEY, OLD))
        };
        model.meanwhile(|model| model.cache.close()).join().unwrap();
        assert!(puts_in.join().unwrap().as_ref().map_or_else(Error::is_rejected, |()| true));
        assert_eq!(model.cache.len(), 0);
    });
}
