//! The ends of contexts in each policy, by origin. This test checks the table in `docs/ends.md`, which is part of the crate's docs.
//! To update the table, run `UPDATE_ENDS=1 cargo test -p ripcord-policy --test ends`.

mod policies;

use std::error::Error as StdError;
use std::fmt::{self, Write};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::FutureExt;
use policies::POLICIES;
use ripcord::{Clock, Context, ManualTime};
use ripcord_policy::pool::Overflow;
use ripcord_policy::{
    Attempt, Bulkhead, Cache, CircuitBreaker, Error, Fallback, Hedge, KeyedCircuitBreaker, KeyedLimiter, Outcome, Rate,
    RateLimiter, Refused, Retry, RetryBudget, SharedError, Stack, WorkerPool,
};

const SECOND: Duration = Duration::from_secs(1);

/// The call's own error.
#[derive(Clone, Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection closed")
    }
}

impl StdError for Down {}

/// A call that observes its context. It returns its own error when the context ends.
async fn heeds(ctx: Context) -> Result<u32, Down> {
    ctx.done().await;
    Err(Down)
}

/// The end of the caller's context.
#[derive(Clone, Copy)]
enum Caller {
    Cancels,
    RunsOut,
    Stays,
}

impl Caller {
    const ENDS: [Caller; 2] = [Caller::Cancels, Caller::RunsOut];

    fn name(self) -> &'static str {
        match self {
            Caller::Cancels => "the caller cancels",
            Caller::RunsOut => "the caller's deadline",
            Caller::Stays => unreachable!("it ends nothing"),
        }
    }
}

struct Ends {
    table: String,
    /// The first two cells of each row.
    rows: Vec<(&'static str, &'static str)>,
    root: Context,
    time: ManualTime,
}

impl Ends {
    fn new() -> Self {
        let (clock, time) = Clock::manual();
        let table = "| policy | what ends or refuses the call | `{}` | `{:#}` | its sources | outcome |\n|---|---|---|---|---|---|\n";
        Ends { table: table.to_owned(), rows: Vec::new(), root: Context::background().with_clock(clock), time }
    }

    /// Makes a call under a context that `caller` ends after the call has started. Then a minute passes.
    async fn call<T, E>(&self, caller: Caller, call: impl AsyncFn(Context) -> Result<T, E>) -> E {
        let (ctx, canceler) = self.root.with_name("request").with_cancel();
        let ctx = match caller {
            Caller::RunsOut => ctx.with_timeout(SECOND * 30),
            Caller::Cancels | Caller::Stays => ctx,
        };
        let mut call = pin!(call(ctx));
        for step in 0..240 {
            if let Some(result) = call.as_mut().now_or_never() {
                return result.err().expect("every call here fails");
            }
            if let (10, Caller::Cancels) = (step, caller) {
                canceler.cancel_with("the client left");
            }
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            self.time.advance(SECOND / 4);
        }
        panic!("the call never ends")
    }

    fn row(&mut self, policy: &'static str, origin: &'static str, error: &(dyn StdError + 'static), outcome: Outcome) {
        self.rows.push((policy, origin));
        let sources: Vec<_> =
            std::iter::successors(error.source(), |&error| error.source()).map(|e| e.to_string()).collect();
        let mut chain = sources.clone();
        chain.push(error.to_string());
        let mut unique = chain.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), chain.len(), "a text appears twice in {chain:?}");
        let story = format!("{error:#}");
        assert!(!story.contains("/src/"), "{story} names a source file of the library");
        let sources = if sources.is_empty() { "none".to_owned() } else { sources.join(" < ") };
        writeln!(self.table, "| {policy} | {origin} | {error} | {} | {sources} | {outcome:?} |", without_lines(&story))
            .expect("a string takes all");
    }

    fn failed<E: StdError + 'static>(&mut self, policy: &'static str, origin: &'static str, error: &Error<E>) {
        self.row(policy, origin, error, error.outcome());
    }

    fn refused(&mut self, policy: &'static str, origin: &'static str, refused: &Refused) {
        self.row(policy, origin, refused, refused.outcome());
    }

    /// Checks that each policy has rows for the origins that all policies have.
    fn assert_rows_of_every_policy(&self) {
        for policy in POLICIES {
            for origin in ["the caller cancels", "the caller's deadline", "the callee fails"] {
                let is_such = |(subject, story): &(&str, &str)| {
                    subject.split(['`', ':']).nth(1) == Some(policy) && story.starts_with(origin)
                };
                assert!(self.rows.iter().any(is_such), "{policy} has no row for the origin: {origin}");
            }
        }
    }
}

/// Returns the text without line numbers of this file, which stand for lines of users, and without ages.
fn without_lines(story: &str) -> String {
    let mut story = story.to_owned();
    for ago in [", just now", ", 250ms ago"] {
        story = story.replace(ago, "");
    }
    let mut parts = story.split(file!());
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += "app.rs";
        text += part.trim_start_matches(|character: char| character == ':' || character.is_ascii_digit());
    }
    text
}

#[tokio::test]
async fn errors_match_the_table() {
    let mut ends = Ends::new();
    let root = ends.root.clone();
    let clock = root.clock();

    let retry = Retry::<Down>::constant(SECOND).max_attempts(2).build().unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| retry.run(&ctx, heeds).await).await;
        ends.failed("`Retry`", caller.name(), &error);
    }
    let error = ends.call(Caller::Stays, async |ctx| retry.run(&ctx, async |_| Err::<(), _>(Down)).await).await;
    ends.failed("`Retry`", "the callee fails", &error);
    let slow = Retry::<Down>::constant(SECOND * 60).build().unwrap();
    let error = ends.call(Caller::RunsOut, async |ctx| slow.run(&ctx, async |_| Err::<(), _>(Down)).await).await;
    ends.failed("`Retry`", "the policy: the next wait would pass the caller's deadline", &error);
    let budget = Arc::new(RetryBudget::builder().capacity(5).build().unwrap());
    let poor = Retry::<Down>::constant(SECOND).max_attempts(3).budget(budget).build().unwrap();
    let error = ends.call(Caller::Stays, async |ctx| poor.run(&ctx, async |_| Err::<(), _>(Down)).await).await;
    ends.failed("`Retry`", "the policy: its budget is spent", &error);
    let never = Retry::<Down>::constant(SECOND).retry_if(|_| false).build().unwrap();
    let error = ends.call(Caller::Stays, async |ctx| never.run(&ctx, async |_| Err::<(), _>(Down)).await).await;
    ends.failed("`Retry`", "the policy: `retry_if` returns false", &error);
    let outer = Retry::<Error<Down>>::constant(SECOND).max_attempts(1).build().unwrap();
    let nested = async |ctx: Context| {
        outer.run(&ctx, async |ctx: Context| retry.run(&ctx, async |_| Err::<(), _>(Down)).await).await
    };
    let error = ends.call(Caller::Stays, nested).await.into_last().unwrap();
    ends.failed("`Retry`", "the policy: it runs inside another retry", &error);

    let hedge = Hedge::after(SECOND).build().unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| hedge.run(&ctx, heeds).await).await;
        ends.failed("`Hedge`", caller.name(), &error);
    }
    let first = Mutex::new(None);
    let second_wins = |ctx: Context| {
        let number = Attempt::hedge_number(&ctx);
        if number == 0 {
            *first.lock().unwrap() = Some(ctx.clone());
        }
        async move { if number == 0 { heeds(ctx).await } else { Ok(number) } }
    };
    let loser_of_hedge = async |ctx: Context| {
        hedge.run(&ctx, second_wins).await.unwrap();
        Err::<u32, _>(first.lock().unwrap().take().unwrap().err().unwrap())
    };
    let loser = ends.call(Caller::Stays, loser_of_hedge).await;
    ends.row("`Hedge`", "another attempt wins: the loser's context", &loser, Outcome::Neutral);
    let error = ends.call(Caller::Stays, async |ctx| hedge.run(&ctx, async |_| Err::<(), _>(Down)).await).await;
    ends.failed("`Hedge`", "the callee fails", &error);

    let breaker = CircuitBreaker::builder("users").clock(clock.clone()).build().unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| breaker.run(&ctx, heeds).await).await;
        ends.failed("`CircuitBreaker`", caller.name(), &error);
    }
    let error = ends.call(Caller::Stays, async |ctx| breaker.run(&ctx, async |_| Err::<(), _>(Down)).await).await;
    ends.failed("`CircuitBreaker`", "the callee fails", &error);
    breaker.force_open();
    let error = ends.call(Caller::Stays, async |ctx| breaker.run(&ctx, heeds).await).await;
    ends.failed("`CircuitBreaker`", "the policy: `force_open` was called", &error);
    let trial = CircuitBreaker::builder("users").consecutive_failures(1).open_for(SECOND).half_open_calls(1);
    let trial = trial.clock(clock.clone()).build().unwrap();
    ends.call(Caller::Stays, async |ctx| trial.run(&ctx, async |_| Err::<(), _>(Down)).await).await;
    let error = ends.call(Caller::Stays, async |ctx| trial.run(&ctx, heeds).await).await;
    ends.failed("`CircuitBreaker`", "the policy: the breaker is open", &error);
    ends.time.advance(SECOND);
    let probe = trial.try_acquire().unwrap();
    let error = ends.call(Caller::Stays, async |ctx| trial.run(&ctx, heeds).await).await;
    ends.failed("`CircuitBreaker`", "the policy: all probes of the half-open breaker are in flight", &error);
    drop(probe);

    let each = CircuitBreaker::builder("users").consecutive_failures(1);
    let breakers = KeyedCircuitBreaker::builder(each).clock(clock.clone()).build().unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| breakers.run(&ctx, &7, heeds).await).await;
        ends.failed("`KeyedCircuitBreaker`", caller.name(), &error);
    }
    let error = ends.call(Caller::Stays, async |ctx| breakers.run(&ctx, &7, async |_| Err::<(), _>(Down)).await).await;
    ends.failed("`KeyedCircuitBreaker`", "the callee fails", &error);
    let error = ends.call(Caller::Stays, async |ctx| breakers.run(&ctx, &7, heeds).await).await;
    ends.failed("`KeyedCircuitBreaker`", "the policy: the breaker of the key is open", &error);

    let bulkhead = Bulkhead::builder().limit(1).queue(1).build().unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| bulkhead.run(&ctx, heeds).await).await;
        ends.failed("`Bulkhead`", caller.name(), &error);
    }
    let permit = bulkhead.try_acquire().unwrap();
    for caller in Caller::ENDS {
        let refused = ends.call(caller, async |ctx| bulkhead.acquire(&ctx).await).await;
        ends.refused("`Bulkhead::acquire`", caller.name(), &refused);
    }
    let error = {
        let free = Bulkhead::builder().limit(1).build().unwrap();
        ends.call(Caller::Stays, async |ctx| free.run(&ctx, async |_| Err::<u32, _>(Down)).await).await
    };
    ends.failed("`Bulkhead`", "the callee fails", &error);
    let full = bulkhead.try_acquire().unwrap_err();
    ends.refused("`Bulkhead::acquire`", "the policy: no permit is free", &full);
    drop(permit);

    let fallback = Fallback::<u32, Down>::new(async |_, error| Err(error));
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| fallback.run(&ctx, heeds).await).await;
        ends.failed("`Fallback`", caller.name(), &error);
    }
    let error = ends.call(Caller::Stays, async |ctx| fallback.run(&ctx, async |_| Err::<u32, _>(Down)).await).await;
    ends.failed("`Fallback`", "the callee fails, and the fallback too", &error);

    let limiter = RateLimiter::builder().rate(Rate::every(SECOND * 60)).burst(1).clock(clock.clone()).build().unwrap();
    assert!(limiter.allow());
    let refused = ends.call(Caller::Cancels, async |ctx| limiter.wait(&ctx).await).await;
    ends.refused("`RateLimiter::wait`", Caller::Cancels.name(), &refused);
    let refused = ends.call(Caller::RunsOut, async |ctx| limiter.wait(&ctx).await).await;
    ends.refused("`RateLimiter::wait`", "the policy: the wait would pass the caller's deadline", &refused);
    let refused = ends.call(Caller::Stays, async |ctx| limiter.wait_n(&ctx, 2).await).await;
    ends.refused("`RateLimiter::wait_n`", "the policy: the burst is smaller", &refused);
    let free = RateLimiter::builder().rate(Rate::every(SECOND)).burst(1).clock(clock.clone()).build().unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| free.run(&ctx, heeds).await).await;
        ends.failed("`RateLimiter`", caller.name(), &error);
    }
    let error = ends.call(Caller::Stays, async |ctx| free.run(&ctx, async |_| Err::<u32, _>(Down)).await).await;
    ends.failed("`RateLimiter`", "the callee fails", &error);

    let limiters =
        KeyedLimiter::builder().rate(Rate::every(SECOND * 60)).burst(1).clock(clock.clone()).build().unwrap();
    assert!(limiters.allow(&7));
    let refused = ends.call(Caller::Cancels, async |ctx| limiters.wait(&ctx, &7).await).await;
    ends.refused("`KeyedLimiter::wait`", Caller::Cancels.name(), &refused);
    let refused = ends.call(Caller::RunsOut, async |ctx| limiters.wait(&ctx, &7).await).await;
    ends.refused("`KeyedLimiter::wait`", "the policy: the wait would pass the caller's deadline", &refused);
    let refused = ends.call(Caller::Stays, async |ctx| limiters.wait_n(&ctx, &7, 2).await).await;
    ends.refused("`KeyedLimiter::wait_n`", "the policy: the burst is smaller", &refused);
    limiters.set_rate(Rate::every(SECOND)).unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| limiters.run(&ctx, &7, heeds).await).await;
        ends.failed("`KeyedLimiter`", caller.name(), &error);
    }
    let fails = async |ctx: Context| limiters.run(&ctx, &7, async |_| Err::<u32, _>(Down)).await;
    let error = ends.call(Caller::Stays, fails).await;
    ends.failed("`KeyedLimiter`", "the callee fails", &error);

    let stack: Stack<u32, Down> = Stack::builder()
        .deadline(SECOND * 40)
        .breaker(CircuitBreaker::builder("stack").consecutive_failures(100))
        .attempt_timeout(SECOND * 35)
        .build()
        .unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| stack.run(&ctx, heeds).await).await;
        ends.failed("`Stack`", caller.name(), &error);
    }
    let error = ends.call(Caller::Stays, async |ctx| stack.run(&ctx, async |_| Err::<u32, _>(Down)).await).await;
    ends.failed("`Stack`", "the callee fails", &error);
    let brittle: Stack<u32, Down> =
        Stack::builder().breaker(CircuitBreaker::builder("stack").consecutive_failures(1)).build().unwrap();
    ends.call(Caller::Stays, async |ctx| brittle.run(&ctx, async |_| Err::<u32, _>(Down)).await).await;
    let error = ends.call(Caller::Stays, async |ctx| brittle.run(&ctx, heeds).await).await;
    ends.failed("`Stack`", "a policy of it: its breaker is open", &error);
    let short: Stack<u32, Down> = Stack::builder().deadline(SECOND * 5).build().unwrap();
    let error = ends.call(Caller::Stays, async |ctx| short.run(&ctx, heeds).await).await;
    ends.failed("`Stack`", "its own deadline", &error);
    let error = ends.call(Caller::Stays, async |ctx| stack.run(&ctx, heeds).await).await;
    ends.failed("`Stack`", "its attempt timeout", &error);
    let error =
        ends.call(Caller::Stays, async |ctx| stack.run(&ctx, async |_| std::future::pending().await).await).await;
    ends.failed("`Stack`", "its attempt timeout, and the call ignores its context", &error);
    let patient: Stack<u32, Down> =
        Stack::builder().retry(Retry::constant(SECOND).max_attempts(2)).attempt_timeout(SECOND * 5).build().unwrap();
    let error = ends.call(Caller::Stays, async |ctx| patient.run(&ctx, heeds).await).await;
    assert!(error.is_attempt_timeout() && !error.is_deadline_exceeded());
    ends.failed("`Stack` with a retry", "its attempt timeout", &error);
    for caller in Caller::ENDS {
        let eager: Stack<u32, Down> = Stack::builder().retry(Retry::builder()).build().unwrap();
        let error = ends.call(caller, async |ctx| eager.run(&ctx, heeds).await).await;
        ends.failed("`Stack` with a retry", caller.name(), &error);
    }
    let hedged: Stack<u32, Down> = Stack::builder().hedge(Hedge::after(SECOND)).build().unwrap();
    let loser_in_stack = async |ctx: Context| {
        hedged.run(&ctx, second_wins).await.unwrap();
        Err::<u32, _>(first.lock().unwrap().take().unwrap().err().unwrap())
    };
    let loser = ends.call(Caller::Stays, loser_in_stack).await;
    ends.row("`Stack` with a hedge", "another attempt wins: the loser's context", &loser, Outcome::Neutral);

    let cache: Cache<u32, u32> = Cache::builder().capacity(10).build(&root).unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| cache.get_or_load(&ctx, 1, heeds).await).await;
        ends.failed("`Cache::get_or_load`", caller.name(), &error);
    }
    let failing = |_| async { Err::<u32, _>(Down) };
    let error = ends.call(Caller::Stays, async |ctx| cache.get_or_load(&ctx, 2, failing).await).await;
    ends.failed("`Cache::get_or_load`", "the callee fails", &error);
    let panics = |_| async { panic!("out of range") as Result<u32, Down> };
    let error = ends.call(Caller::Stays, async |ctx| cache.get_or_load(&ctx, 3, panics).await).await;
    ends.failed("`Cache::get_or_load`", "the callee panics", &error);
    let (tell, told) = std::sync::mpsc::channel();
    let cyclic = async |ctx: Context| {
        let (inner, tell) = (cache.clone(), tell.clone());
        let load = move |ctx: Context| async move {
            let again = |_| async { Err::<u32, _>(Down) };
            tell.send(inner.get_or_load(&ctx, 5, again).await.unwrap_err()).unwrap();
            Err::<u32, _>(Down)
        };
        cache.get_or_load(&ctx, 5, load).await.unwrap_err();
        Err::<u32, _>(told.recv().unwrap())
    };
    let error = ends.call(Caller::Stays, cyclic).await;
    ends.failed("`Cache::get_or_load`", "the policy: the load would wait for itself", &error);
    let of_load = cache.clone();
    let close = async move |ctx: Context| {
        of_load.close();
        heeds(ctx).await
    };
    let error = ends.call(Caller::Stays, async |ctx| cache.get_or_load(&ctx, 6, close.clone()).await).await;
    ends.failed("`Cache::get_or_load`", "the policy: the cache is closed during the load", &error);
    let error = ends.call(Caller::Stays, async |ctx| cache.get_or_load(&ctx, 4, heeds).await).await;
    ends.failed("`Cache::get_or_load`", "the policy: the cache is closed", &error);
    let (app, stop) = root.with_name("app").with_cancel();
    let of_app: Cache<u32, u32> = Cache::builder().capacity(10).build(&app).unwrap();
    stop.cancel_with("SIGTERM");
    let error = ends.call(Caller::Stays, async |ctx| of_app.get_or_load(&ctx, 4, heeds).await).await;
    ends.failed("`Cache::get_or_load`", "the cache's own context is canceled", &error);

    let pool = WorkerPool::builder().workers(1).build(&root).unwrap();
    for caller in Caller::ENDS {
        let error = ends.call(caller, async |ctx| pool.submit(&ctx, heeds).await.unwrap().await).await;
        ends.failed("`WorkerPool`", caller.name(), &error);
    }
    let error: Error<SharedError> =
        ends.call(Caller::Stays, async |ctx| pool.submit(&ctx, failing).await.unwrap().await).await;
    ends.failed("`WorkerPool`", "the callee fails", &error);
    let error = ends.call(Caller::Stays, async |ctx| pool.submit(&ctx, panics).await.unwrap().await).await;
    ends.failed("`WorkerPool`", "the callee panics", &error);
    #[expect(clippy::async_yields_async, reason = "the handle of the job is awaited later")]
    let start = async |pool: &WorkerPool, ctx: &Context| {
        let handle = pool.submit(ctx, heeds).await.unwrap();
        // One yield lets each worker start.
        tokio::task::yield_now().await;
        handle
    };
    let canceled = async |ctx: Context| {
        let handle = start(&pool, &ctx).await;
        handle.cancel();
        handle.await
    };
    let error = ends.call(Caller::Stays, canceled).await;
    ends.failed("`WorkerPool`", "the job's handle cancels it", &error);
    let (app, stop) = root.with_name("app").with_cancel();
    let of_app = WorkerPool::builder().workers(1).build(&app).unwrap();
    let stopped = async |ctx: Context| {
        let handle = start(&of_app, &ctx).await;
        stop.cancel_with("SIGTERM");
        handle.await
    };
    let error = ends.call(Caller::Stays, stopped).await;
    ends.failed("`WorkerPool`", "the pool's own context is canceled", &error);
    let refused = ends.call(Caller::Stays, async |ctx| of_app.submit(&ctx, heeds).await.map(drop)).await;
    ends.refused("`WorkerPool::submit`", "the pool's own context is canceled", &refused);
    let dropped = async |ctx: Context| {
        let pool = WorkerPool::builder().workers(1).build(&root).unwrap();
        let handle = start(&pool, &ctx).await;
        drop(pool);
        handle.await
    };
    let error = ends.call(Caller::Stays, dropped).await;
    ends.failed("`WorkerPool`", "the policy: the last handle of the pool is dropped", &error);
    let aborted = async |ctx: Context| {
        let pool = WorkerPool::builder().workers(1).build(&root).unwrap();
        let handle = start(&pool, &ctx).await;
        pool.shutdown(&root.with_timeout(Duration::ZERO)).await.unwrap_err();
        handle.await
    };
    let error = ends.call(Caller::Stays, aborted).await;
    ends.failed("`WorkerPool`", "the policy: the context of `shutdown` ends before the job", &error);
    let other_runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { WorkerPool::builder().workers(1).build(&root).unwrap() })
    };
    let orphan = std::thread::scope(|scope| scope.spawn(other_runtime).join().unwrap());
    let refused = ends.call(Caller::Stays, async |ctx| orphan.submit(&ctx, heeds).await.map(drop)).await;
    ends.refused("`WorkerPool::submit`", "the policy: the runtime of the pool was dropped", &refused);
    let full = WorkerPool::builder().workers(1).queue(1).build(&root).unwrap();
    let _running = start(&full, &root).await;
    let _queued = start(&full, &root).await;
    for caller in Caller::ENDS {
        let refused = ends.call(caller, async |ctx| full.submit(&ctx, heeds).await.map(drop)).await;
        ends.refused("`WorkerPool::submit`", caller.name(), &refused);
    }
    let small = WorkerPool::builder().workers(1).queue(1).overflow(Overflow::Reject).build(&root).unwrap();
    let too_many = async |ctx: Context| {
        let _running = start(&small, &ctx).await;
        let _queued = start(&small, &ctx).await;
        small.submit(&ctx, heeds).await.map(drop)
    };
    let refused = ends.call(Caller::Stays, too_many).await;
    ends.refused("`WorkerPool::submit`", "the policy: the queue is full", &refused);
    small.shutdown(&root.with_timeout(Duration::ZERO)).await.unwrap_err();
    pool.shutdown(&root).await.unwrap();
    let error = ends
        .call(Caller::Stays, async |ctx| pool.submit(&ctx, heeds).await.map(drop).map_err(Error::<Down>::from))
        .await;
    ends.failed("`WorkerPool`", "the policy: the pool is closed", &error);

    ends.assert_rows_of_every_policy();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ends.md");
    if std::env::var_os("UPDATE_ENDS").is_some() {
        std::fs::write(path, &ends.table).expect("the table can be written");
    }
    let expected = std::fs::read_to_string(path).expect("the table is there");
    assert_eq!(ends.table, expected, "the head of this file says how to rewrite the table");
}

/// A panic has no error. It goes to the caller and counts as a failure of the callee.
#[tokio::test]
async fn panic_of_the_callee_is_a_failure_for_every_policy() {
    let ctx = Context::background();
    let panics = |_: Context| -> std::future::Ready<Result<u32, Down>> { panic!("out of range") };
    let panics_later = |_: Context| async { panic!("out of range") as Result<u32, Down> };
    let breaker = CircuitBreaker::builder("users").consecutive_failures(2).build().unwrap();
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    let fallback = Fallback::<u32, Down>::value(7);
    let hedge = Hedge::after(SECOND).build().unwrap();
    let retry = Retry::builder().build().unwrap();
    let stack: Stack<u32, Down> = Stack::builder()
        .breaker(CircuitBreaker::builder("stack").consecutive_failures(2))
        .bulkhead(Bulkhead::builder().limit(1))
        .build()
        .unwrap();
    macro_rules! assert_panics {
        ($($policy:ident),*) => {$(
            assert!(AssertUnwindSafe($policy.run(&ctx, panics)).catch_unwind().await.is_err());
            assert!(AssertUnwindSafe($policy.run(&ctx, panics_later)).catch_unwind().await.is_err());
        )*};
    }
    assert_panics!(breaker, bulkhead, fallback, hedge, retry, stack);
    let in_stack = [stack.breaker().unwrap().stats().calls, stack.bulkhead().unwrap().stats().calls];
    let alone = [breaker.stats().calls, bulkhead.stats().calls, fallback.stats().calls, hedge.stats().calls];
    for calls in alone.into_iter().chain(in_stack).chain([retry.stats().calls]) {
        assert_eq!((calls.started, calls.failed), (2, 2), "{calls:?}");
    }
    assert_eq!(breaker.state(), ripcord_policy::breaker::State::Open);
    assert_eq!(stack.breaker().unwrap().state(), ripcord_policy::breaker::State::Open);
}

#[tokio::test]
async fn winner_and_loser_of_a_hedge_have_contexts_that_say_so() {
    let hedge = Hedge::after(Duration::from_nanos(1)).build().unwrap();
    let ctx = Context::background();
    let winner = hedge.run(&ctx, async |ctx| Ok::<_, Down>(ctx)).await.unwrap();
    assert!(winner.err().is_none(), "a response can still be read");
    let failed = Mutex::new(None);
    let call = |ctx: Context| {
        *failed.lock().unwrap() = Some(ctx);
        async { Err::<(), _>(Down) }
    };
    hedge.run(&ctx, call).await.unwrap_err();
    assert!(failed.lock().unwrap().take().unwrap().err().is_none(), "returning ends no context");
}

#[tokio::test]
async fn refusal_for_a_near_deadline_names_whose_it_is() {
    let (clock, _time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_name("GET /users").with_timeout(SECOND);
    let retry = Retry::<Down>::constant(SECOND * 5).build().unwrap();
    let error = retry.run(&ctx, async |_| Err::<(), _>(Down)).await.unwrap_err();
    let story = without_lines(&format!("{error:#}"));
    assert_eq!(
        story,
        "deadline too near: needs 5s, 1s left (timeout of 1s set at app.rs in GET /users), after 1 attempt, last error: connection closed"
    );
}

/// The table contains no lines. This test checks that each end names the line of its setting.
#[tokio::test]
async fn end_names_the_line_of_its_setting() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let assert_line = |story: &str, line: u32| {
        assert!(story.contains(&format!("set at {}:{line}:", file!())), "line {line} is not in: {story}");
    };

    let builder = Stack::<u32, Down>::builder();
    let builder = builder.deadline(SECOND);
    let line = line!() - 1;
    let stack = builder.build().unwrap();
    let mut call = pin!(stack.run(&ctx, heeds));
    assert!(call.as_mut().now_or_never().is_none());
    time.advance(SECOND);
    assert_line(&format!("{:#}", call.await.unwrap_err()), line);

    for ignored in [false, true] {
        let builder = Stack::<u32, Down>::builder().deadline(SECOND * 10);
        let builder = builder.attempt_timeout(SECOND);
        let line = line!() - 1;
        let stack = builder.build().unwrap();
        let call = |ctx: Context| async move { if ignored { std::future::pending().await } else { heeds(ctx).await } };
        let mut call = pin!(stack.run(&ctx, call));
        assert!(call.as_mut().now_or_never().is_none());
        time.advance(SECOND);
        assert_line(&format!("{:#}", call.await.unwrap_err()), line);
    }
}

#[tokio::test]
async fn loser_of_a_hedge_is_canceled_with_the_line_of_the_delay() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let after = Hedge::after(SECOND);
    let after_line = line!() - 1;
    let delayed = Hedge::builder();
    let delayed = delayed.delay(SECOND);
    let delayed_line = line!() - 1;
    for (builder, line) in [(after, after_line), (delayed, delayed_line)] {
        let alone = builder.clone().build().unwrap();
        let stack: Stack<u32, Down> = Stack::builder().hedge(builder).build().unwrap();
        for in_stack in [false, true] {
            let first = Mutex::new(None);
            let call = |ctx: Context| {
                let number = Attempt::hedge_number(&ctx);
                if number == 0 {
                    *first.lock().unwrap() = Some(ctx.clone());
                }
                async move { if number == 0 { heeds(ctx).await } else { Ok(number) } }
            };
            let mut run =
                pin!(async { if in_stack { stack.run(&ctx, call).await } else { alone.run(&ctx, call).await } });
            assert!(run.as_mut().now_or_never().is_none());
            time.advance(SECOND);
            assert_eq!(run.await.unwrap(), 1);
            let loser = first.lock().unwrap().take().unwrap();
            let origin = loser.err().unwrap().origin();
            assert_eq!((origin.location().file(), origin.location().line()), (file!(), line), "in a stack: {in_stack}");
        }
    }
}

#[test]
fn clone_of_a_retry_made_by_another_thread_shares_its_statistics() {
    let retry = Retry::<Down>::builder().build().unwrap();
    for _ in 0..3 {
        retry.run_blocking(&Context::background(), |_| Ok(())).unwrap();
    }
    let clone = std::thread::scope(|scope| scope.spawn(|| retry.clone()).join().unwrap());
    assert_eq!(clone.stats().calls.started, 3);
}
