//! The flights of the cache: who boards which load, who leaves it, and what becomes of its result.

mod changes;
mod loads;
mod stale;

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ripcord::{Canceler, Clock, Context, ManualTime};
use shuttle::future::{block_on, yield_now};
use shuttle::thread::{self, JoinHandle};

use crate::cache::{Cache, CacheBuilder};
use crate::{Error, SharedError};

type Failed = std::io::Error;
type Users = Cache<&'static str, u32>;
type Loaded = Result<u32, Error<SharedError>>;

const SECOND: Duration = Duration::from_secs(1);

/// The key that all ask for.
const KEY: &str = "gopher";

/// What was put in, and not loaded.
const OLD: u32 = 100;

/// A cache, whoever asks it, and where its loads come from.
#[derive(Clone)]
struct Model {
    ctx: Context,
    cache: Users,
    source: Arc<Source>,
}

/// Where the loads of [`KEY`] come from.
#[derive(Default)]
struct Source {
    begun: AtomicU32,
    /// The loads that are going on, by their numbers.
    under_way: Mutex<Vec<(u32, Context)>>,
    version: AtomicU32,
}

/// How a load goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Succeeds,
    Fails,
    /// It does not end by itself.
    Stays,
    /// It brings the version there is when it begins. Of these there may be several at a time.
    SeesVersion,
}

/// How a caller leaves.
#[derive(Clone, Copy)]
enum Leaving {
    Dropped,
    ItsContextEnds,
}

impl Source {
    /// A load in some steps, which brings its number: 1 and so on. All but one way see that there is no other beside it.
    async fn load(self: Arc<Self>, ctx: Context, way: Way) -> Result<u32, Failed> {
        let version = self.version.load(Ordering::Relaxed);
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        let _under_way = (way != Way::SeesVersion).then(|| UnderWay::begin(&self, number, ctx));
        yield_now().await;
        match way {
            Way::Succeeds => Ok(number),
            Way::SeesVersion => Ok(version),
            Way::Fails => Err(Failed::other("down")),
            Way::Stays => std::future::pending().await,
        }
    }
}

struct UnderWay<'a>(&'a Source, u32);

impl<'a> UnderWay<'a> {
    /// Sees that there is no other load but such as were called off.
    fn begin(source: &'a Source, number: u32, ctx: Context) -> Self {
        let mut under_way = source.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(under_way.iter().all(|(_, ctx)| ctx.is_done()), "a second load beside the first");
        under_way.push((number, ctx));
        Self(source, number)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut under_way = self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|(number, _)| *number != self.1);
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
        let model = self.clone();
        thread::spawn(move || block_on(model.get_or_load_under(&model.ctx, way)))
    }

    fn refresh(&self, way: Way) -> JoinHandle<Loaded> {
        let model = self.clone();
        thread::spawn(move || {
            let source = Arc::clone(&model.source);
            block_on(model.cache.refresh(&model.ctx, KEY, move |ctx| source.load(ctx, way)))
        })
    }

    /// A caller that leaves when the canceler says so. None if it was dropped.
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

    /// Does `work` in a thread of its own: what spawns one goes on, without others coming in.
    fn meanwhile(&self, work: impl FnOnce(&Model) + Send + 'static) -> JoinHandle<()> {
        let model = self.clone();
        thread::spawn(move || work(&model))
    }

    /// Waits until nothing is left of any load, neither its code nor its flight, and returns how many there were.
    fn at_rest(&self) -> u64 {
        while Arc::strong_count(&self.source) > 1 || self.cache.flights() > 0 || self.cache.stats().loading > 0 {
            thread::yield_now();
        }
        let stats = self.cache.stats();
        assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
        assert_eq!((stats.panicked, stats.loading), (0, 0), "{stats:?}");
        stats.calls.started
    }
}
