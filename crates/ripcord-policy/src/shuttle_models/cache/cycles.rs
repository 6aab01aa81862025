//! Loads that request each other's keys.

use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use super::{Failed, Loaded, Model};
use crate::shuttle_models::explore;

/// Loads `first` with a loader that requests `second`. Returns 1 if that request was refused.
fn requests(model: &Model, first: &'static str, second: &'static str) -> JoinHandle<Loaded> {
    let model = model.clone();
    thread::spawn(move || {
        let inner = model.cache.clone();
        let load = move |ctx| async move {
            let load = |_| async { Ok::<_, Failed>(0) };
            Ok::<_, Failed>(inner.get_or_load(&ctx, second, load).await.map_or(1, |value| value))
        };
        block_on(model.cache.get_or_load(&model.ctx, first, load))
    })
}

#[test]
fn loads_that_request_each_others_key_all_return() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let callers = [requests(&model, "a", "b"), requests(&model, "b", "a")];
        let refused: u32 = callers.into_iter().map(|caller| caller.join().unwrap().unwrap()).sum();
        // The refused load returns 1, and so does the load that waited for it. If there was no cycle, both return 0.
        assert!(refused == 0 || refused == 2, "{refused}");
        model.at_rest();
    });
}

#[test]
fn three_loads_in_a_circle_all_return() {
    explore(|| {
        let (model, _time) = Model::new(|cache| cache);
        let callers = [requests(&model, "a", "b"), requests(&model, "b", "c"), requests(&model, "c", "a")];
        for caller in callers {
            assert!(caller.join().unwrap().unwrap() <= 1);
        }
        model.at_rest();
    });
}
