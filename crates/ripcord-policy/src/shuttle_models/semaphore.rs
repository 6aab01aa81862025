//! The semaphore of the pool and the bulkhead, resized while its permits are in use.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::thread;

use super::explore;
use crate::semaphore::Semaphore;

#[test]
fn resizes_during_use_leave_the_last_size() {
    explore(|| {
        let semaphore = Arc::new(Semaphore::new(2));
        let users: Vec<_> = (0..3)
            .map(|_| {
                let semaphore = Arc::clone(&semaphore);
                thread::spawn(move || drop(block_on(semaphore.acquire()).unwrap()))
            })
            .collect();
        let resizes = {
            let semaphore = Arc::clone(&semaphore);
            thread::spawn(move || {
                semaphore.resize(2, 1);
                semaphore.resize(1, 3);
                semaphore.resize(3, 1);
            })
        };
        users.into_iter().for_each(|user| user.join().unwrap());
        resizes.join().unwrap();
        let held = semaphore.try_acquire().expect("the one permit");
        assert!(semaphore.try_acquire().is_err());
        drop(held);
        semaphore.resize(1, 2);
        let held = [semaphore.try_acquire().unwrap(), semaphore.try_acquire().unwrap()];
        assert!(semaphore.try_acquire().is_err());
        drop(held);
    });
}
