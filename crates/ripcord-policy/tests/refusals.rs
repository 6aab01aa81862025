//! The long text of a refusal names the line of the user's code that built the policy, and the name of the policy.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use ripcord::{Clock, Context};
use ripcord_policy::limiter::Quota;
use ripcord_policy::pool::Overflow;
use ripcord_policy::{
    Bulkhead, CircuitBreaker, KeyedCircuitBreaker, KeyedLimiter, Rate, RateLimiter, Refused, Retry, RetryBudget, Stack,
    StopReason, WorkerPool,
};

const SECOND: Duration = Duration::from_secs(1);

/// Checks that the long text of `error` contains `what`, followed by this line of this file, and that no other line is named. The
/// short text names no line.
#[track_caller]
fn assert_names(error: &dyn Display, what: &str, line: u32) {
    let (short, long) = (error.to_string(), format!("{error:#}"));
    let expected = format!("{what} at {}:{line}:", file!());
    assert!(long.contains(&expected), "{expected} is not in: {long}");
    assert_eq!(long.matches(".rs:").count(), 1, "{long}");
    assert!(!short.contains(".rs:"), "{short}");
}

async fn fail(_: Context) -> Result<u32, &'static str> {
    Err("down")
}

#[tokio::test]
async fn open_breaker_names_the_line_of_its_builder() {
    let ctx = Context::background();
    let builder = CircuitBreaker::builder("users");
    let line = line!() - 1;
    let builder = builder.consecutive_failures(1);

    let breaker = builder.clone().build().unwrap();
    breaker.run(&ctx, fail).await.unwrap_err();
    let long = format!("circuit breaker 'users' is OPEN (built at {}:{line}:19)", file!());
    assert_eq!(format!("{:#}", breaker.run(&ctx, fail).await.unwrap_err()), long);
    let open = breaker.try_acquire().unwrap_err();
    assert_eq!((open.built_at.line(), open.forced_at), (line, None));
    assert_eq!((format!("{open:#}"), format!("{:#}", Refused::from(open))), (long.clone(), long));

    let stack = Stack::builder().breaker(builder.clone()).build().unwrap();
    stack.run(&ctx, fail).await.unwrap_err();
    assert_names(&stack.run(&ctx, fail).await.unwrap_err(), "'users' is OPEN (built", line);

    let retry = Retry::constant(Duration::ZERO).max_attempts(1);
    let stack = Stack::builder().retry(retry).breaker(builder.clone()).build().unwrap();
    stack.run(&ctx, fail).await.unwrap_err();
    let error = stack.run(&ctx, fail).await.unwrap_err();
    assert_eq!(error.stop_reason(), Some(StopReason::Exhausted));
    assert_names(&error, "the only attempt failed, last error: circuit breaker 'users' is OPEN (built", line);

    let breakers = KeyedCircuitBreaker::new(builder).unwrap();
    breakers.run(&ctx, &7, fail).await.unwrap_err();
    assert_names(&breakers.run(&ctx, &7, fail).await.unwrap_err(), "'users/7' is OPEN (built", line);

    let breaker = CircuitBreaker::new("users", 1, SECOND).unwrap();
    let line = line!() - 1;
    breaker.try_acquire().unwrap().failure();
    assert_names(&breaker.try_acquire().unwrap_err(), "'users' is OPEN (built", line);
}

#[test]
fn probing_breaker_names_the_line_of_its_builder() {
    let (clock, time) = Clock::manual();
    let builder = CircuitBreaker::builder("users");
    let line = line!() - 1;
    let breaker = builder.consecutive_failures(1).open_for(SECOND).clock(clock).build().unwrap();
    breaker.try_acquire().unwrap().failure();
    time.advance(SECOND);
    let _probe = breaker.try_acquire().unwrap();
    assert_names(&breaker.try_acquire().unwrap_err(), "'users' is HALF-OPEN and probing (built", line);
}

#[test]
fn breaker_opened_by_hand_names_the_line_of_force_open() {
    let breaker = CircuitBreaker::builder("users").consecutive_failures(1).build().unwrap();
    breaker.try_acquire().unwrap().failure();
    breaker.force_open();
    let line = line!() - 1;
    let open = breaker.try_acquire().unwrap_err();
    assert_eq!(open.forced_at.map(|location| location.line()), Some(line));
    assert_names(&open, "'users' is OPEN (opened by force_open", line);

    breaker.force_open();
    assert_names(&breaker.try_acquire().unwrap_err(), "(opened by force_open", line!() - 1);

    breaker.reset();
    breaker.try_acquire().unwrap().failure();
    let open = breaker.try_acquire().unwrap_err();
    assert_eq!(open.forced_at, None, "its calls opened it");
    assert_names(&open, "'users' is OPEN (built", open.built_at.line());
}

#[tokio::test]
async fn limiter_names_the_line_of_its_builder() {
    let ctx = Context::background();
    let builder = RateLimiter::builder();
    let line = line!() - 1;
    let builder = builder.rate(Rate::every(60 * SECOND));
    let what = "2 tokens exceed the burst of 1 (limiter built";

    let limiter = builder.clone().build().unwrap();
    assert_names(&limiter.wait_n(&ctx, 2).await.unwrap_err(), what, line);
    let exceeds = limiter.reserve_n(2).unwrap_err();
    assert_eq!(exceeds.built_at.line(), line);
    assert_names(&exceeds, what, line);
    assert_names(&Refused::from(exceeds), what, line);

    let limiter = RateLimiter::new(Rate::ZERO, 1).unwrap();
    let line = line!() - 1;
    assert_names(&limiter.wait_n(&ctx, 2).await.unwrap_err(), what, line);

    let vip = Quota::new(Rate::ZERO, 1).unwrap();
    let builder = KeyedLimiter::builder();
    let line = line!() - 1;
    let limiters = builder.rate(Rate::ZERO).quota(move |key: &u32| (*key == 7).then_some(vip)).build().unwrap();
    for key in [6, 7] {
        assert_names(&limiters.wait_n(&ctx, &key, 2).await.unwrap_err(), what, line);
        assert_names(&limiters.reserve_n(&key, 2).unwrap_err(), what, line);
    }

    let limiters = KeyedLimiter::new(Rate::ZERO, 1).unwrap();
    let line = line!() - 1;
    assert_names(&limiters.wait_n(&ctx, &7, 2).await.unwrap_err(), what, line);
}

#[tokio::test]
async fn limiter_without_a_token_before_the_deadline_names_both_lines() {
    let (clock, _time) = Clock::manual();
    let ctx = Context::background().with_clock(clock.clone()).with_name("GET /users").with_timeout(SECOND);
    let deadline_line = line!() - 1;
    let builder = RateLimiter::builder().rate(Rate::every(60 * SECOND)).clock(clock);
    let line = line!() - 1;
    let limiter = builder.clone().build().unwrap();
    assert!(limiter.allow());
    let stack = Stack::builder().limiter(limiter.clone()).build().unwrap();
    let texts = [
        format!("{:#}", limiter.wait(&ctx).await.unwrap_err()),
        format!("{:#}", limiter.run(&ctx, fail).await.unwrap_err()),
        format!("{:#}", stack.run(&ctx, fail).await.unwrap_err()),
    ];
    for text in texts {
        let deadline = format!("needs 60s, 1s left (timeout of 1s set at {}:{deadline_line}:", file!());
        let limiter = format!(" in GET /users; limiter built at {}:{line}:19)", file!());
        assert!(text.contains(&deadline) && text.ends_with(&limiter), "{text}");
    }
}

#[tokio::test]
async fn full_bulkhead_names_the_line_of_its_builder() {
    let ctx = Context::background();
    let builder = Bulkhead::builder();
    let line = line!() - 1;
    let bulkhead = builder.limit(1).build().unwrap();
    let _permit = bulkhead.try_acquire().unwrap();
    let what = "all 1 permits are in use (bulkhead built";
    assert_names(&bulkhead.try_acquire().unwrap_err(), what, line);
    assert_names(&bulkhead.acquire(&ctx).await.unwrap_err(), what, line);
    assert_names(&bulkhead.run(&ctx, fail).await.unwrap_err(), what, line);
    let stack = Stack::builder().bulkhead(bulkhead.clone()).build().unwrap();
    assert_names(&stack.run(&ctx, fail).await.unwrap_err(), what, line);
}

#[tokio::test]
async fn full_pool_names_its_name_and_the_line_of_its_builder() {
    let ctx = Context::background();
    let job = |_: Context| std::future::pending::<Result<u32, std::io::Error>>();
    let builder = WorkerPool::builder();
    let line = line!() - 1;
    let builder = builder.workers(1).queue(1).overflow(Overflow::Reject);
    for (builder, what) in [
        (builder.clone(), "queue of 1 is full (worker pool built"),
        (builder.name("images"), "queue of 1 is full (worker pool 'images' built"),
    ] {
        let pool = builder.build(&ctx).unwrap();
        let _jobs = [pool.submit(&ctx, job).await.unwrap(), pool.submit(&ctx, job).await.unwrap()];
        assert_names(&pool.submit(&ctx, job).await.unwrap_err(), what, line);
        assert_names(&pool.try_submit(&ctx, job).unwrap_err(), what, line);
        assert_names(&pool.run(&ctx, job).await.unwrap_err(), what, line);
    }
}

#[tokio::test]
async fn spent_budget_names_the_line_that_created_it() {
    let ctx = Context::background();
    let builder = RetryBudget::builder();
    let line = line!() - 1;
    let built = (builder.capacity(5).build().unwrap(), line);
    let new = (RetryBudget::new(), line!());
    let default = (RetryBudget::default(), line!());
    for (budget, line) in [built, new, default] {
        let budget = Arc::new(budget);
        RetryBudget::try_spend(&budget, budget.tokens()).expect("all tokens").commit();
        let what = "retry budget is spent (built";
        let retry = Retry::constant(Duration::ZERO).budget(Arc::clone(&budget));
        let error = retry.clone().build().unwrap().run(&ctx, fail).await.unwrap_err();
        assert_eq!(error.stop_reason(), Some(StopReason::Budget));
        assert_names(&error, what, line);
        let stack = Stack::builder().retry(retry).build().unwrap();
        assert_names(&stack.run(&ctx, fail).await.unwrap_err(), what, line);
    }
}
