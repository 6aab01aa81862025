//! Two hours of virtual time of mixed load on all policies, and ten million inserts. The tests print their random seed.
//!
//! `RIPCORD_SOAK_SEED` repeats a run. Debug builds make a tenth of the inserts, to keep the test short. `scripts/soak`, one of the
//! checks before a merge, makes all inserts.

#![expect(clippy::print_stderr, reason = "the seed repeats a failure")]

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ripcord::{Canceler, Clock, Context};
use ripcord_policy::pool::{Overflow, WorkerPool};
use ripcord_policy::{
    Bulkhead, Cache, CircuitBreaker, Error, Fallback, Hedge, Jitter, Random, Rate, RateLimiter, Retry, RetryBudget,
    Stack,
};

/// Runs one test at a time, because the second test measures the memory of the process.
static ALONE: Mutex<()> = Mutex::new(());

const STEP: Duration = Duration::from_millis(250);
const TWO_HOURS: u32 = 2 * 60 * 60 * 4;

#[derive(Debug, Clone)]
struct Down;
impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("down")
    }
}
impl std::error::Error for Down {}

/// Calls that have reached the callee.
static SENT: AtomicU64 = AtomicU64::new(0);

/// Makes a call to the callee, which succeeds or fails after a while, or never answers.
async fn callee(ctx: Context, random: Arc<Random>, outage: bool) -> Result<u32, Down> {
    SENT.fetch_add(1, Ordering::Relaxed);
    if random.chance(0.02) {
        std::future::pending::<()>().await;
    }
    let took = random.duration_between(Duration::ZERO, Duration::from_millis(1500));
    ctx.sleep(took).await.map_err(|_| Down)?;
    if random.chance(if outage { 0.9 } else { 0.1 }) { Err(Down) } else { Ok(7) }
}

#[test]
fn two_hours_of_mixed_load_end_with_every_counter_consistent() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = match std::env::var("RIPCORD_SOAK_SEED") {
        Ok(seed) => seed.parse().expect("a number"),
        Err(_) => Random::new().next_u64(),
    };
    eprintln!("RIPCORD_SOAK_SEED={seed}");
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(soak(seed));
}

async fn soak(seed: u64) {
    let random = Arc::new(Random::seeded(seed));
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone());
    let budget = Arc::new(RetryBudget::new());
    let fallback = Fallback::builder().value(0).when(|error: &Error<Down>| error.is_rejected()).build().unwrap();
    let cache = Cache::builder()
        .capacity(50)
        .ttl(Duration::from_secs(20))
        .stale_for(Duration::from_secs(5))
        .negative_ttl(Duration::from_secs(1))
        .ttl_jitter(0.2)
        .random(Random::seeded(seed ^ 1))
        .build(&ctx)
        .unwrap();
    let retry = Retry::exponential()
        .max_attempts(4)
        .jitter(Jitter::Full)
        .random(Random::seeded(seed))
        .budget(Arc::clone(&budget))
        .build()
        .unwrap();
    let hedge = Hedge::after(Duration::from_secs(1)).build().unwrap();
    let breaker = CircuitBreaker::builder("callee")
        .failure_rate(0.6)
        .minimum_calls(10)
        .open_for(Duration::from_secs(5))
        .half_open_calls(2)
        .clock(clock.clone())
        .build()
        .unwrap();
    let limiter = RateLimiter::builder().rate(Rate::per_second(8.0)).burst(16).clock(clock).build().unwrap();
    let bulkhead = Bulkhead::builder().limit(6).queue(6).build().unwrap();
    let stack: Stack<u32, Down, u64> = Stack::builder()
        .fallback(fallback.clone())
        .cache(cache.clone())
        .deadline(Duration::from_secs(10))
        .retry(retry.clone())
        .hedge(hedge.clone())
        .breaker(breaker.clone())
        .limiter(limiter.clone())
        .bulkhead(bulkhead.clone())
        .attempt_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let pool = WorkerPool::builder().workers(16).queue(32).overflow(Overflow::Wait).build(&ctx).unwrap();

    let results = [const { AtomicU64::new(0) }; 3].map(Arc::new);
    let mut started = 0_u64;
    let mut live: Vec<(tokio::task::JoinHandle<()>, Option<Canceler>)> = Vec::new();
    for step in 0..TWO_HOURS {
        // Every ten minutes the callee is down for one minute.
        let outage = step % 2400 < 240;
        for _ in 0..random.next_u64() % 4 {
            started += 1;
            let caller = match random.next_u64() % 3 {
                0 => ctx.clone(),
                1 => ctx.with_timeout(random.duration_between(Duration::ZERO, Duration::from_secs(12))),
                _ => ctx.with_timeout(Duration::from_secs(60)),
            };
            let (caller, canceler) = caller.with_cancel();
            let (stack, pool, results, source) = (stack.clone(), pool.clone(), results.clone(), Arc::clone(&random));
            let (key, how) = (random.next_u64() % 100, random.next_u64() % 3);
            let call = tokio::spawn(async move {
                let answered = match how {
                    0 => stack.run(&caller, |ctx| callee(ctx, Arc::clone(&source), outage)).await.is_ok(),
                    1 => {
                        let call = move |ctx| callee(ctx, Arc::clone(&source), outage);
                        stack.run_keyed(&caller, key, call).await.is_ok()
                    }
                    _ => {
                        let task = move |ctx: Context| async move {
                            stack.run(&ctx, |ctx| callee(ctx, Arc::clone(&source), outage)).await
                        };
                        match pool.submit(&caller, task).await {
                            Ok(task) => task.await.is_ok(),
                            Err(_) => false,
                        }
                    }
                };
                results[usize::from(answered)].fetch_add(1, Ordering::Relaxed);
            });
            // Some calls are canceled or dropped early. The other calls keep their canceler until they end.
            live.push((call, Some(canceler)));
        }
        for _ in 0..2 {
            if live.is_empty() || !random.chance(0.15) {
                continue;
            }
            let victim = usize::try_from(random.next_u64()).unwrap_or(0) % live.len();
            if random.chance(0.5) {
                live[victim].1 = None;
            } else {
                let (call, _canceler) = live.swap_remove(victim);
                call.abort();
                if call.await.is_err() {
                    results[2].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        match random.next_u64() % 1000 {
            0 => cache.clear(&ctx).unwrap(),
            1 => pool.resize(4 + usize::try_from(random.next_u64() % 28).unwrap_or(0)).unwrap(),
            2 => limiter.set_rate(Rate::per_second(4.0 + 8.0 * random.fraction())).unwrap(),
            3..13 => drop(cache.remove(&ctx, &(random.next_u64() % 100)).unwrap()),
            _ => {}
        }
        settle(8).await;
        time.advance(STEP);
        live.retain(|(call, _)| !call.is_finished());
    }
    while !live.is_empty() {
        settle(20).await;
        time.advance(STEP);
        live.retain(|(call, _)| !call.is_finished());
    }
    pool.shutdown(&ctx).await.unwrap();
    // Background loads of stale values may be in flight.
    for _ in 0..100 {
        settle(20).await;
        time.advance(STEP);
    }

    let [failed, answered, dropped] = results.map(|count| count.load(Ordering::Relaxed));
    assert_eq!(started, failed + answered + dropped);
    let stats = stack.stats();
    eprintln!("{started} started, {answered} answered, {failed} not, {dropped} dropped; {stats:?}");
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled);
    assert!(stats.calls.succeeded > 10_000 && stats.calls.failed > 100 && stats.calls.canceled > 100, "a dull run");
    let stats = fallback.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    let stats = retry.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert!(stats.retries > 1000);
    let stats = hedge.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert!(stats.hedges > 100);
    let stats = breaker.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    let stats = bulkhead.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert_eq!((stats.calls.in_flight(), stats.waiting), (0, 0));
    let attempts = stack.stats().attempts;
    assert_eq!(attempts, SENT.load(Ordering::Relaxed), "an attempt is what the callee sees");
    // The bulkhead may admit a call at the moment when the caller's time ends. The permit is then not used.
    assert!(
        (attempts..=attempts + stats.calls.canceled).contains(&stats.calls.started),
        "{attempts} attempts, {stats:?}"
    );
    let stats = cache.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert_eq!(stats.calls.in_flight(), 0);
    assert!(stats.hits > 100 && stats.coalesced > 10, "{stats:?}");
    let stats = pool.stats();
    assert_eq!(stats.calls.started, stats.calls.succeeded + stats.calls.failed + stats.calls.canceled, "{stats:?}");
    assert_eq!((stats.queued, stats.running, stats.workers.len()), (0, 0, 0));
    assert_eq!(limiter.stats().waiters, 0);
    time.advance(Duration::from_secs(60));
    assert!((limiter.tokens() - 16.0).abs() < 1e-6, "{} tokens", limiter.tokens());
    // All probes are free, so a half-open breaker admits as many calls as configured.
    breaker.reset();
    assert!(breaker.try_acquire().is_ok());
    cache.clear(&ctx).unwrap();
    let stats = cache.stats();
    assert_eq!(stats.inserted, stats.evicted + stats.expired + stats.replaced + stats.removed, "{stats:?}");
}

async fn settle(rounds: u32) {
    for _ in 0..rounds {
        tokio::task::yield_now().await;
    }
}

static VALUES: AtomicI64 = AtomicI64::new(0);

/// A value that counts the live values.
struct Counted([u8; 32]);

impl Counted {
    fn new(number: u64) -> Arc<Self> {
        VALUES.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self([number as u8; 32]))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        VALUES.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn ten_million_inserts_leave_memory_flat() {
    const CAPACITY: u64 = 10_000;
    let inserts = if cfg!(debug_assertions) { 1_000_000 } else { 10_000_000 };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (clock, time) = Clock::manual();
        let ctx = Context::background().with_clock(clock);
        let cache = Cache::builder().capacity(CAPACITY).ttl(Duration::from_secs(5)).build(&ctx).unwrap();
        let mut settled = None;
        for key in 0..inserts {
            cache.insert(&ctx, key, Counted::new(key)).unwrap();
            if key % 1_000 == 0 {
                // Ten thousand inserts take six seconds, one second more than the TTL. So some entries expire before they are
                // evicted, and are swept.
                time.advance(Duration::from_millis(600));
                settle(3).await;
                assert!(VALUES.load(Ordering::Relaxed) <= CAPACITY as i64);
                assert!(cache.get(&ctx, &key).unwrap().is_some_and(|value| value.0[0] == key as u8));
            }
            if key == inserts / 5 {
                settled = resident_bytes();
            }
        }
        if let (Some(settled), Some(now)) = (settled, resident_bytes()) {
            assert!(now < settled + 8 * 1024 * 1024, "{settled} bytes became {now}");
        }
        let stats = cache.stats();
        assert!(stats.expired > 0, "{stats:?}");
        drop(cache);
        settle(10).await;
        assert_eq!(VALUES.load(Ordering::Relaxed), 0);
    });
}

/// Returns the memory of this process, if the system reports it.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(status.split_whitespace().nth(1)?.parse::<u64>().ok()? * 4096)
}
