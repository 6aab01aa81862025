//! Values and loads that a second level invalidates.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ripcord::Context;
use shuttle::future::yield_now;
use shuttle::thread;

use super::{KEY, Model, OLD, Way};
use crate::cache::{Answer, FirstLevel, Lease, SecondLevel, Write};
use crate::shuttle_models::explore;

/// A second level with one value, which tests change as another process does.
#[derive(Clone, Default)]
struct Elsewhere {
    first: Arc<OnceLock<FirstLevel<&'static str>>>,
    stored: Arc<Mutex<Stored>>,
}

#[derive(Default)]
struct Stored {
    value: Option<u32>,
    /// Counts the changes by other processes. A lease holds until the next.
    changes: u32,
}

impl Elsewhere {
    fn with<R>(&self, work: impl FnOnce(&mut Stored) -> R) -> R {
        work(&mut self.stored.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the value as another process does.
    fn change(&self, value: Option<u32>) {
        self.with(|stored| *stored = Stored { value, changes: stored.changes + 1 });
    }

    fn write(&self, value: Option<u32>) -> Write {
        let this = self.clone();
        Box::new(move || this.with(|stored| stored.value = value))
    }
}

impl SecondLevel<&'static str, u32> for Elsewhere {
    fn attach(&self, first: FirstLevel<&'static str>) {
        assert!(self.first.set(first).is_ok(), "attached once");
    }

    fn find<'a>(
        &'a self,
        _ctx: &'a Context,
        _key: &'a &'static str,
        _reload: bool,
    ) -> Pin<Box<dyn Future<Output = Answer<u32>> + Send + 'a>> {
        Box::pin(async {
            yield_now().await;
            let (value, changes) = self.with(|stored| (stored.value, stored.changes));
            // The answer is on its way.
            yield_now().await;
            match value {
                Some(value) => Answer::Value { value, ttl: None },
                None => Answer::Load(Box::new(Granted(self.clone(), changes))),
            }
        })
    }

    fn insert(&self, _: &&'static str, value: &u32, _: Option<Duration>) -> Write {
        self.write(Some(*value))
    }

    fn remove(&self, _: &&'static str) -> Write {
        self.write(None)
    }

    fn clear(&self) -> Write {
        self.write(None)
    }

    fn sync(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

struct Granted(Elsewhere, u32);

impl Lease<u32> for Granted {
    fn store(self: Box<Self>, value: &u32, _: Option<Duration>) -> Write {
        let value = *value;
        Box::new(move || {
            self.0.with(|stored| {
                if stored.changes == self.1 {
                    stored.value = Some(value);
                }
            });
        })
    }
}

#[test]
fn value_read_before_an_invalidation_is_not_stored_after_it() {
    for all in [false, true] {
        explore(move || {
            let elsewhere = Elsewhere::default();
            let second = elsewhere.clone();
            let (model, _time) = Model::new(|cache| cache.second_level(second));
            let loads = [model.get_or_load(Way::SeesVersion), model.get_or_load(Way::SeesVersion)];
            let change = model.meanwhile(move |model| {
                model.source.version.store(1, Ordering::Relaxed);
                elsewhere.change(None);
                let first = elsewhere.first.get().unwrap();
                if all { first.invalidate_all() } else { first.invalidate(&KEY) }
            });
            for load in loads {
                assert!(load.join().unwrap().unwrap() <= 1);
            }
            change.join().unwrap();
            model.at_rest();
            assert!(model.cache.get(&model.ctx, KEY).unwrap().is_none_or(|value| value == 1));
            assert_eq!(model.get_or_load(Way::SeesVersion).join().unwrap().unwrap(), 1);
        });
    }
}

#[test]
fn value_inserted_elsewhere_replaces_the_value_of_this_process() {
    explore(|| {
        let elsewhere = Elsewhere::default();
        let second = elsewhere.clone();
        let (model, _time) = Model::new(|cache| cache.second_level(second));
        let load = model.get_or_load(Way::SeesVersion);
        let change = model.meanwhile(move |_| {
            elsewhere.change(Some(OLD));
            elsewhere.first.get().unwrap().invalidate(&KEY);
        });
        assert!(matches!(load.join().unwrap().unwrap(), 0 | OLD));
        change.join().unwrap();
        model.at_rest();
        assert_eq!(model.get_or_load(Way::SeesVersion).join().unwrap().unwrap(), OLD);
    });
}

#[test]
fn inserts_of_two_threads_leave_the_same_value_in_both_levels() {
    explore(|| {
        let elsewhere = Elsewhere::default();
        let second = elsewhere.clone();
        let (model, _time) = Model::new(|cache| cache.second_level(second));
        let inserts = [1, 2].map(|value| {
            let model = model.clone();
            thread::spawn(move || model.cache.insert(&model.ctx, KEY, value).unwrap())
        });
        for insert in inserts {
            insert.join().unwrap();
        }
        let kept = model.cache.get(&model.ctx, KEY).unwrap();
        assert_eq!(kept, elsewhere.with(|stored| stored.value));
    });
}
