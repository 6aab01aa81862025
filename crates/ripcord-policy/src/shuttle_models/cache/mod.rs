//! Models of the loads of the cache: callers that join and leave loads, and the results of the loads.

mod changes;
mod cycles;
mod loads;
mod second_level;
mod stale;

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ripcord::{Canceler, Clock, Context, ManualTime};
use shuttle::future::{block_on, yield_now};
use shuttle::thread::{self, JoinHandle};

use crate::cache::{Cache, CacheBuilder};
use crate::{Error, SharedError};

type Failed = std::io::Error;
type Users = Cache<&'static str, u32>;
type Loaded = Result<u32, Error<SharedError>>;

const SECOND: Duration = Duration::from_secs(1);

/// The key that all callers request.
const KEY: &str = "gopher";

/// A value that was inserted, not loaded.
const OLD: u32 = 100;

/// A cache, the context of its callers, and the source of its loads.
#[derive(Clone)]
struct Model {
    ctx: Context,
    cache: Users,
    source: Arc<Source>,
}

/// The data source of the loads of [`KEY`].
#[derive(Default)]
struct Source {
    started: AtomicU32,
    /// The loads in flight, by their numbers.
    in_flight: Mutex<Vec<(u32, Context)>>,
    /// The loads that have returned a number, with their contexts.
    returned: Mutex<Vec<(u32, Context)>>,
    version: AtomicU32,
}

/// The behavior of a load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Succeeds,
    Fails,
    /// The load does not return.
    Stays,
    /// The load returns the version at its start. Several of these loads may run at the same time.
    SeesVersion,
}

/// The way in which a caller leaves.
#[derive(Clone, Copy)]
enum Leaving {
    Dropped,
    ItsContextEnds,
}

impl Source {
    /// Loads in several steps. Returns the number of the load, counted from 1. Asserts that no other load is in flight, except for
    /// loads that see the version.
    async fn load(self: Arc<Self>, ctx: Context, way: Way) -> Result<u32, Failed> {
        let version = self.version.load(Ordering::Relaxed);
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let _in_flight = (way != Way::SeesVersion).then(|| InFlight::new(&self, number, ctx.clone()));
        yield_now().await;
        match way {
            Way::Succeeds => {
                self.returned.lock().unwrap_or_else(PoisonError::into_inner).push((number, ctx));
                Ok(number)
            }
            Way::SeesVersion => Ok(version),
            Way::Fails => Err(Failed::other("down")),
            Way::Stays => std::future::pending().await,
        }
    }
}

/// Returns whether the load failed with the source's own error.
fn failed(loaded: &Loaded) -> bool {
    loaded.as_ref().is_err_and(|error| error.last().is_some())
}

struct InFlight<'a>(&'a Source, u32);

impl<'a> InFlight<'a> {
    /// Asserts that every other load has been canceled.
    fn new(source: &'a Source, number: u32, ctx: Context) -> Self {
        let mut in_flight = source.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(in_flight.iter().all(|(_, ctx)| ctx.is_done()), "a second load beside the first");
        in_flight.push((number, ctx));
        Self(source, number)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.0.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.retain(|(number, _)| *number != self.1);
    }
}

impl Model {
    fn new(
        settings: impl FnOnce(CacheBuilder<&'static str, u32>) -> CacheBuilder<&'static str, u32>,
    ) -> (Self, ManualTime) {
        let (clock, time) = Clock::manual();
        let ctx = Context::background().with_clock(clock);
        let cache = settings(Cache::builder().capacity(4)).build(&ctx).unwrap();
        (Self { ctx, cache, source: Arc::default() }, time)
    }

    fn get_or_load(&self, way: Way) -> JoinHandle<Loaded> {
        self.get_or_load_with(&self.ctx, way)
    }

    fn get_or_load_with(&self, ctx: &Context, way: Way) -> JoinHandle<Loaded> {
        let (model, ctx) = (self.clone(), ctx.clone());
        thread::spawn(move || block_on(model.get_or_load_under(&ctx, way)))
    }

    fn refresh(&self, way: Way) -> JoinHandle<Loaded> {
        let model = self.clone();
        thread::spawn(move || {
            let source = Arc::clone(&model.source);
            block_on(model.cache.refresh(&model.ctx, KEY, move |ctx| source.load(ctx, way)))
        })
    }

    /// Starts a caller that leaves when the canceler is called. The caller returns `None` if it was dropped.
    fn leaves(&self, leaving: Leaving, way: Way) -> (JoinHandle<Option<Loaded>>, Canceler) {
        let model = self.clone();
        let (leaves, canceler) = model.ctx.with_cancel();
        let caller = thread::spawn(move || {
            block_on(async {
                match leaving {
                    Leaving::Dropped => leaves.run(model.get_or_load_under(&model.ctx, way)).await.ok(),
                    Leaving::ItsContextEnds => Some(model.get_or_load_under(&leaves, way).await),
                }
            })
        });
        (caller, canceler)
    }

    fn get_or_load_under<'a>(&'a self, ctx: &'a Context, way: Way) -> impl Future<Output = Loaded> + 'a {
        let source = Arc::clone(&self.source);
        self.cache.get_or_load(ctx, KEY, move |ctx| source.load(ctx, way))
    }

    /// Runs `work` on its own thread, because shuttle does not switch away from a thread that spawns others.
    fn meanwhile(&self, work: impl FnOnce(&Model) + Send + 'static) -> JoinHandle<()> {
        let model = self.clone();
        thread::spawn(move || work(&model))
    }

    /// Returns the deadline of the load in flight.
    fn load_deadline(&self) -> Option<Instant> {
        let in_flight = self.source.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        in_flight.last().and_then(|(_, ctx)| ctx.deadline())
    }

    /// Returns whether the context of the load that returned `number` has ended.
    fn is_ended(&self, number: u32) -> bool {
        let returned = self.source.returned.lock().unwrap_or_else(PoisonError::into_inner);
        returned.iter().any(|(returned, ctx)| *returned == number && ctx.is_done())
    }

    /// Waits until no load is left. Returns the number of loads started.
    fn at_rest(&self) -> u64 {
        let in_flight = || self.cache.stats().calls.in_flight();
        while Arc::strong_count(&self.source) > 1 || self.cache.flights() > 0 || in_flight() > 0 {
            thread::yield_now();
        }
        let stats = self.cache.stats();
        assert_eq!((stats.panicked, stats.calls.in_flight()), (0, 0), "{stats:?}");
        stats.calls.started
    }
}
