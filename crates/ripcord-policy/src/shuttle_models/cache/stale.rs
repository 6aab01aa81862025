//! Background loads while a stale value is served.

use ripcord::ManualTime;
use shuttle::thread;

use super::{KEY, Leaving, Model, OLD, SECOND, Way};
use crate::shuttle_models::explore;

/// Returns a model with a value that has just become stale and stays stale for a second.
fn stale() -> (Model, ManualTime) {
    let (model, time) = Model::new(|cache| cache.ttl(SECOND).stale_for(SECOND));
    model.cache.insert(&model.ctx, KEY, OLD).unwrap();
    time.advance(SECOND);
    (model, time)
}

#[test]
fn stale_hit_and_refresh_never_load_at_the_same_time() {
    explore(|| {
        let (model, _time) = stale();
        let (hits, refreshed) =
            ([model.get_or_load(Way::Succeeds), model.get_or_load(Way::Succeeds)], model.refresh(Way::Succeeds));
        for hit in hits {
            assert!(matches!(hit.join().unwrap().unwrap(), OLD | 1 | 2));
        }
        assert!(matches!(refreshed.join().unwrap().unwrap(), 1 | 2), "loaded, not found");
        let last = model.at_rest();
        assert_eq!(model.cache.get(&model.ctx, KEY).unwrap().map(u64::from), Some(last));
    });
}

#[test]
fn caller_that_joins_a_background_load_gets_a_value_although_the_window_ends() {
    explore(|| {
        let (model, time) = stale();
        let callers = [model.get_or_load(Way::Succeeds), model.get_or_load(Way::Succeeds)];
        let window_ends = thread::spawn(move || time.advance(SECOND));
        for caller in callers {
            assert!(matches!(caller.join().unwrap().unwrap(), OLD | 1 | 2));
        }
        window_ends.join().unwrap();
        assert!(model.at_rest() <= 2);
    });
}

#[test]
fn background_load_is_not_repeated_right_after_a_failed_one() {
    explore(|| {
        let (model, _time) = stale();
        let hits: Vec<_> = (0..3).map(|_| model.get_or_load(Way::Fails)).collect();
        for hit in hits {
            assert_eq!(hit.join().unwrap().unwrap(), OLD);
        }
        assert_eq!(model.at_rest(), 1);
    });
}

#[test]
fn background_load_ends_with_its_window_although_a_more_patient_caller_came_and_left() {
    explore(|| {
        let (model, time) = stale();
        assert_eq!(model.get_or_load(Way::Stays).join().unwrap().unwrap(), OLD);
        let (leaves, canceler) = model.leaves(Leaving::Dropped, Way::Stays);
        let window_ends = thread::spawn(move || time.advance(SECOND));
        let leave = thread::spawn(move || canceler.cancel());
        assert!(matches!(leaves.join().unwrap(), None | Some(Ok(OLD))));
        window_ends.join().unwrap();
        leave.join().unwrap();
        model.at_rest();
        assert_eq!(model.cache.stats().calls.canceled, model.cache.stats().calls.started);
    });
}
