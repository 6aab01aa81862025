//! The places of the pool and the bulkhead, whose number changes while they are in use.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::thread;

use super::explore;
use crate::places::Places;

#[test]
fn after_resizes_there_are_as_many_as_were_asked_for() {
    explore(|| {
        let places = Arc::new(Places::new(2));
        let users: Vec<_> = (0..3)
            .map(|_| {
                let places = Arc::clone(&places);
                thread::spawn(move || drop(block_on(places.take()).unwrap()))
            })
            .collect();
        let resizes = {
            let places = Arc::clone(&places);
            thread::spawn(move || {
                places.resize(2, 1);
                places.resize(1, 3);
                places.resize(3, 1);
            })
        };
        users.into_iter().for_each(|user| user.join().unwrap());
        resizes.join().unwrap();
        let held = places.try_take().expect("the one there is");
        assert!(places.try_take().is_err());
        drop(held);
        places.resize(1, 2);
        let held = [places.try_take().unwrap(), places.try_take().unwrap()];
        assert!(places.try_take().is_err());
        drop(held);
    });
}
