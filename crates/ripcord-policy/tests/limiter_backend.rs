//! Limiters whose buckets are in a backend, with a backend that answers as the test says.

use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use ripcord::{Clock, Context, ManualTime, block_on};
use ripcord_policy::limiter::backend::{Backend, BoxFuture, BucketId, Claimed, Promise, Refunded};
use ripcord_policy::limiter::{Quota, RateLimiterBuilder};
use ripcord_policy::{Bulkhead, ConfigError, KeyedLimiter, Rate, RateLimiter, Stack};
use tokio::sync::watch;

const SECOND: Duration = Duration::from_secs(1);

/// A backend that gives the answers of a list. Clones share everything.
#[derive(Clone, Debug, Default)]
struct Fake(Arc<State>);

#[derive(Debug, Default)]
struct State {
    answers: Mutex<VecDeque<Answer>>,
    /// The claims, as `key:tokens:longest_wait`.
    claims: Mutex<Vec<String>>,
    /// The claims whose futures were dropped in flight: their tokens, and what to call when these have returned.
    dropped: Mutex<Vec<(u32, Dropped)>>,
    refunded: AtomicUsize,
    /// The new delay of all promises.
    moved: watch::Sender<Option<Duration>>,
    /// The future of a claim ends on another thread.
    is_threaded: bool,
}

struct Dropped(Refunded);

impl fmt::Debug for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dropped")
    }
}

#[derive(Clone, Debug)]
enum Answer {
    Now,
    After(Option<Duration>),
    Late(Option<Duration>),
    ExceedsBurst,
    Full,
    Unavailable,
    /// The claim is never answered.
    Never,
}

impl Fake {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Fake(Arc::new(State { answers: Mutex::new(answers.into_iter().collect()), ..State::default() }))
    }

    fn claims(&self) -> Vec<String> {
        self.0.claims.lock().unwrap().clone()
    }

    fn claims_dropped(&self) -> usize {
        self.0.dropped.lock().unwrap().len()
    }

    fn refunded(&self) -> usize {
        self.0.refunded.load(Ordering::Relaxed)
    }

    fn limiter(&self) -> (RateLimiter, Context, ManualTime) {
        let (clock, time) = Clock::manual();
        let limiter = self.builder().clock(clock.clone()).build().unwrap();
        (limiter, Context::background().with_clock(clock), time)
    }

    const BUILDER_LINE: u32 = line!() + 3;

    fn builder(&self) -> RateLimiterBuilder {
        RateLimiter::builder().rate(Rate::per_second(1.0)).burst(4).backend(self.clone())
    }
}

/// Notes a claim whose future is dropped before it is ready.
struct InFlight {
    fake: Fake,
    tokens: u32,
    refunded: Option<Refunded>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let refunded = Dropped(self.refunded.take().expect("dropped once"));
        self.fake.0.dropped.lock().unwrap().push((self.tokens, refunded));
    }
}

impl Backend for Fake {
    fn claim<'a>(
        &'a self,
        bucket: BucketId<'a>,
        tokens: u32,
        longest_wait: Option<Duration>,
        refunded: Refunded,
    ) -> BoxFuture<'a, Claimed> {
        self.0.claims.lock().unwrap().push(format!("{}:{tokens}:{longest_wait:?}", bucket.key));
        let answer = self.0.answers.lock().unwrap().pop_front().expect("an answer");
        let promise = || Some(Box::new(FakePromise { fake: self.clone(), tokens }) as Box<dyn Promise>);
        let claimed = match answer {
            Answer::Now => Claimed::Granted { delay: Some(Duration::ZERO), promise: promise() },
            Answer::After(delay) => Claimed::Granted { delay, promise: promise() },
            Answer::Late(delay) => Claimed::Late(delay),
            Answer::ExceedsBurst => Claimed::ExceedsBurst { burst: bucket.quota.burst() },
            Answer::Full => Claimed::Full,
            Answer::Unavailable => Claimed::Unavailable { retry_after: SECOND },
            Answer::Never => {
                let in_flight = InFlight { fake: self.clone(), tokens, refunded: Some(refunded) };
                return async move {
                    let _in_flight = in_flight;
                    std::future::pending().await
                }
                .boxed();
            }
        };
        if !self.0.is_threaded {
            return async { claimed }.boxed();
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || sender.send(claimed).expect("the caller waits"));
        async { receiver.await.expect("the thread answers") }.boxed()
    }

    fn set_rate(&self, rate: Rate) -> BoxFuture<'_, Result<(), ConfigError>> {
        async move { Err(ConfigError::new("rate", "set while the backend is available", rate)) }.boxed()
    }

    fn set_burst(&self, _burst: u32) -> BoxFuture<'_, Result<(), ConfigError>> {
        async { Ok(()) }.boxed()
    }

    fn quota<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, Quota> {
        async move { bucket.quota }.boxed()
    }

    fn tokens<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, f64> {
        async move { if bucket.has_own_quota { -2.0 } else { 1.5 } }.boxed()
    }
}

#[derive(Debug)]
struct FakePromise {
    fake: Fake,
    tokens: u32,
}

impl Promise for FakePromise {
    fn moved(&mut self) -> BoxFuture<'_, Option<Duration>> {
        let mut moved = self.fake.0.moved.subscribe();
        async move {
            moved.changed().await.expect("the backend lives");
            *moved.borrow()
        }
        .boxed()
    }

    fn refund(self: Box<Self>, then: Refunded) {
        self.fake.0.refunded.fetch_add(self.tokens as usize, Ordering::Relaxed);
        then(self.tokens);
    }
}

#[test]
fn answer_of_the_backend_becomes_the_answer_of_allow() {
    let answers = [
        Answer::Now,
        Answer::Late(Some(SECOND)),
        Answer::ExceedsBurst,
        Answer::Full,
        Answer::Unavailable,
        Answer::After(Some(SECOND)),
    ];
    let fake = Fake::new(answers);
    let (limiter, ..) = fake.limiter();
    let allowed: Vec<bool> = (0..6).map(|_| limiter.allow_n(2)).collect();
    assert_eq!(allowed, [true, false, false, false, false, false]);
    assert_eq!(fake.claims()[0], ":2:Some(0ns)");
    let stats = limiter.stats();
    assert_eq!((stats.allowed, stats.denied, stats.unavailable, stats.calls.rejected), (1, 4, 1, 5));
    assert_eq!(fake.refunded(), 2, "tokens for later are of no use to allow");
}

#[test]
fn wait_sleeps_for_the_delay_and_keeps_its_tokens() {
    let fake = Fake::new([Answer::After(Some(SECOND)), Answer::Now]);
    let (limiter, ctx, time) = fake.limiter();
    let mut wait = pin!(limiter.wait_n(&ctx, 3));
    assert!(wait.as_mut().now_or_never().is_none());
    assert_eq!(limiter.stats().waiters, 1);
    time.advance(SECOND);
    assert_eq!(wait.now_or_never().unwrap().unwrap(), SECOND);
    assert_eq!(block_on(limiter.wait(&ctx)).unwrap(), Duration::ZERO);
    assert_eq!(fake.claims(), [":3:None", ":1:None"]);
    let stats = limiter.stats();
    assert_eq!((stats.waited, stats.waiters, stats.total_wait, fake.refunded()), (2, 0, SECOND, 0));
}

#[test]
fn refused_wait_says_why_and_refunds_nothing() {
    let answers =
        [Answer::Late(Some(SECOND)), Answer::Late(None), Answer::ExceedsBurst, Answer::Full, Answer::Unavailable];
    let fake = Fake::new(answers);
    let (limiter, ctx, _time) = fake.limiter();
    let near = ctx.with_timeout(SECOND / 2);
    let late = block_on(limiter.wait(&near)).unwrap_err();
    assert!(late.is_deadline_exceeded() && late.deadline_origin().is_some(), "{late}");
    let never = block_on(limiter.wait(&near)).unwrap_err();
    assert!(never.is_deadline_exceeded(), "{never}");
    let burst = block_on(limiter.wait_n(&ctx, 5)).unwrap_err();
    assert_eq!(burst.to_string(), "5 tokens exceed the burst of 4");
    let full = block_on(limiter.wait(&ctx)).unwrap_err();
    assert!(full.is_limited() && full.is_transient() && full.retry_after().is_none());
    assert_eq!(full.to_string(), "rate limited");
    let unavailable = block_on(limiter.wait(&ctx)).unwrap_err();
    assert!(unavailable.is_unavailable() && unavailable.is_transient() && unavailable.is_rejected());
    assert_eq!(unavailable.retry_after(), Some(SECOND));
    assert_eq!(unavailable.to_string(), "the limiter's backend is unavailable; next attempt in 1s");
    for refused in [late, never, burst, full, unavailable] {
        let built_at = format!("limiter built at {}:{}:", file!(), Fake::BUILDER_LINE);
        assert!(format!("{refused:#}").contains(&built_at), "{built_at} is not in {refused:#}");
    }
    assert_eq!(fake.claims()[0], ":1:Some(500ms)", "the backend knows the time left");
    let stats = limiter.stats();
    assert_eq!((stats.deadline_refused, stats.unavailable, stats.calls.rejected), (2, 1, 5));
    assert_eq!((stats.waiters, stats.calls.started, fake.refunded()), (0, 0, 0));
}

#[test]
fn wait_dropped_during_its_sleep_refunds() {
    let fake = Fake::new([Answer::After(Some(SECOND))]);
    let (limiter, ctx, _time) = fake.limiter();
    let mut wait = Box::pin(limiter.wait_n(&ctx, 3));
    assert!(wait.as_mut().now_or_never().is_none());
    drop(wait);
    let stats = limiter.stats();
    assert_eq!((fake.refunded(), stats.refunded, stats.calls.canceled, stats.waiters), (3, 3, 1, 0));
}

#[test]
fn wait_dropped_during_its_claim_drops_the_claim() {
    let fake = Fake::new([Answer::Never]);
    let (limiter, ctx, _time) = fake.limiter();
    let mut wait = Box::pin(limiter.wait(&ctx));
    assert!(wait.as_mut().now_or_never().is_none());
    drop(wait);
    assert_eq!(fake.claims_dropped(), 1);
    let stats = limiter.stats();
    assert_eq!((stats.calls.canceled, stats.waiters), (1, 0));
}

#[test]
fn tokens_of_a_claim_dropped_in_flight_count_as_refunded_when_they_return() {
    let fake = Fake::new([Answer::Never, Answer::Never]);
    let (limiter, ctx, _time) = fake.limiter();
    let mut wait = Box::pin(limiter.wait_n(&ctx, 3));
    assert!(wait.as_mut().now_or_never().is_none());
    drop(wait);
    let (canceled, canceler) = ctx.with_cancel();
    let mut wait = Box::pin(limiter.wait(&canceled));
    assert!(wait.as_mut().now_or_never().is_none());
    canceler.cancel();
    assert!(wait.now_or_never().unwrap().is_err());
    // The answers come later, and the backend returns the tokens.
    for (tokens, Dropped(refunded)) in std::mem::take(&mut *fake.0.dropped.lock().unwrap()) {
        let before = limiter.stats().refunded;
        refunded(tokens);
        assert_eq!(limiter.stats().refunded - before, u64::from(tokens));
    }
    let stats = limiter.stats();
    assert_eq!((stats.refunded, stats.calls.canceled, stats.waiters), (4, 2, 0));
}

#[test]
fn context_that_ends_ends_the_claim_and_the_sleep() {
    let fake = Fake::new([Answer::Never, Answer::After(Some(SECOND))]);
    let (limiter, ctx, _time) = fake.limiter();
    for dropped in [1, 1] {
        let (ctx, canceler) = ctx.with_cancel();
        let mut wait = Box::pin(limiter.wait(&ctx));
        assert!(wait.as_mut().now_or_never().is_none());
        canceler.cancel();
        assert!(wait.now_or_never().unwrap().unwrap_err().is_canceled());
        assert_eq!(fake.claims_dropped(), dropped);
    }
    assert_eq!((fake.refunded(), limiter.stats().calls.canceled), (1, 2));
    let (done, canceler) = ctx.with_cancel();
    canceler.cancel();
    assert!(block_on(limiter.wait(&done)).unwrap_err().is_canceled());
    assert_eq!(fake.claims().len(), 2, "a context that is done makes no claim");
}

#[test]
fn tokens_that_never_become_available_are_named_in_the_error() {
    let fake = Fake::new([Answer::Late(None), Answer::After(Some(SECOND))]);
    let (limiter, ctx, _time) = fake.limiter();
    let ctx = ctx.with_timeout(2 * SECOND);
    let text = "deadline too near: the wait would never end, 2s left";
    assert_eq!(block_on(limiter.wait(&ctx)).unwrap_err().to_string(), text);
    // The rate becomes zero during the wait.
    let mut wait = Box::pin(limiter.wait(&ctx));
    let mut task = Task::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut task).is_pending());
    fake.0.moved.send_replace(None);
    assert!(matches!(wait.as_mut().poll(&mut task), Poll::Ready(Err(late)) if late.to_string() == text));
}

#[test]
fn changed_rate_moves_a_waiter() {
    let fake = Fake::new([Answer::After(None), Answer::After(Some(SECOND))]);
    let (limiter, ctx, time) = fake.limiter();
    let mut wait = Box::pin(limiter.wait(&ctx));
    let mut task = Task::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut task).is_pending(), "the rate is zero");
    fake.0.moved.send_replace(Some(2 * SECOND));
    assert!(wait.as_mut().poll(&mut task).is_pending());
    time.advance(2 * SECOND);
    assert!(matches!(wait.as_mut().poll(&mut task), Poll::Ready(Ok(_))));

    let ctx = ctx.with_timeout(2 * SECOND);
    let mut wait = Box::pin(limiter.wait(&ctx));
    assert!(wait.as_mut().poll(&mut task).is_pending());
    fake.0.moved.send_replace(Some(3 * SECOND));
    let Poll::Ready(Err(late)) = wait.as_mut().poll(&mut task) else { panic!("the deadline is too near") };
    assert!(late.is_deadline_exceeded(), "{late}");
    assert_eq!(fake.refunded(), 1);
}

#[test]
fn tokens_due_at_the_cancel_win_over_the_cancel() {
    let fake = Fake::new([Answer::After(Some(SECOND))]);
    let (limiter, ctx, time) = fake.limiter();
    let (ctx, canceler) = ctx.with_cancel();
    let mut wait = Box::pin(limiter.wait(&ctx));
    assert!(wait.as_mut().now_or_never().is_none());
    time.advance(SECOND);
    canceler.cancel();
    assert!(wait.now_or_never().unwrap().is_ok());
    assert_eq!(fake.refunded(), 0);
}

#[test]
fn canceled_reservation_refunds_until_it_is_due() {
    let after = Answer::After(Some(SECOND));
    let fake = Fake::new([after.clone(), after, Answer::After(None), Answer::Unavailable, Answer::ExceedsBurst]);
    let (limiter, _, time) = fake.limiter();
    let reservation = limiter.reserve_n(2).unwrap();
    assert_eq!((reservation.delay(), reservation.tokens()), (SECOND, 2));
    assert!(reservation.cancel() && fake.refunded() == 2);
    let reservation = limiter.reserve();
    time.advance(SECOND);
    assert!(reservation.delay().is_zero() && !reservation.cancel() && fake.refunded() == 2);
    assert_eq!(limiter.reserve().delay(), Duration::MAX);
    assert_eq!(fake.refunded(), 3, "tokens that are never due are not kept");
    assert_eq!(limiter.reserve().act_at(), None);
    assert_eq!(limiter.reserve_n(5).unwrap_err().burst, 4);
    let stats = limiter.stats();
    assert_eq!((stats.reserved, stats.unavailable, stats.reservations_canceled), (3, 1, 2));
}

#[test]
fn synchronous_calls_work_inside_a_current_thread_runtime() {
    let answers = Mutex::new(VecDeque::from([Answer::Now, Answer::After(Some(SECOND))]));
    let fake = Fake(Arc::new(State { answers, is_threaded: true, ..State::default() }));
    let limiter = fake.builder().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert!(limiter.allow());
        assert!(limiter.reserve().cancel());
        assert_eq!((limiter.tokens(), limiter.burst()), (1.5, 4));
    });
}

#[test]
fn setting_that_cannot_be_stored_is_an_error() {
    let (limiter, ..) = Fake::new([]).limiter();
    let error = limiter.set_rate(Rate::per_second(2.0)).unwrap_err();
    assert_eq!(error.to_string(), "rate must be set while the backend is available, got 2/s");
    assert_eq!(limiter.set_rate(Rate::per_second(-1.0)).unwrap_err().field(), "rate");
    assert_eq!(limiter.set_burst(0).unwrap_err().to_string(), "burst must be at least 1, got 0");
    limiter.set_burst(2).unwrap();
}

#[tokio::test]
async fn token_of_a_call_that_is_not_sent_is_refunded() {
    let fake = Fake::new([Answer::Now, Answer::Now]);
    let bulkhead = Bulkhead::builder().limit(1).build().unwrap();
    let stack: Stack<(), std::io::Error> =
        Stack::builder().limiter(fake.builder()).bulkhead(bulkhead.clone()).build().unwrap();
    let ctx = Context::background();
    let permit = bulkhead.try_acquire().unwrap();
    assert!(stack.run(&ctx, |_| async { Ok(()) }).await.is_err());
    assert_eq!(fake.refunded(), 1);
    drop(permit);
    stack.run(&ctx, |_| async { Ok(()) }).await.unwrap();
    assert_eq!(fake.refunded(), 1, "the call was sent");
}

#[test]
fn keys_have_names_and_quotas_in_the_backend() {
    let fake = Fake::new([Answer::Now, Answer::ExceedsBurst, Answer::Now]);
    let vip = Quota::new(Rate::per_second(100.0), 50).unwrap();
    let limiter = KeyedLimiter::builder()
        .rate(Rate::per_second(1.0))
        .burst(4)
        .quota(move |key: &u32| (*key == 7).then_some(vip))
        .backend(fake.clone(), |key: &u32| format!("client-{key}"))
        .build()
        .unwrap();
    assert!(limiter.allow(&1));
    assert_eq!(limiter.reserve_n(&7, 60).unwrap_err().burst, 50);
    block_on(limiter.wait(&Context::background(), &7)).unwrap();
    assert_eq!(fake.claims(), ["client-1:1:Some(0ns)", "client-7:60:None", "client-7:1:None"]);
    assert_eq!((limiter.burst(&1), limiter.burst(&7)), (4, 50));
    assert_eq!((limiter.tokens(&1), limiter.tokens(&7)), (1.5, -2.0));
    assert!(limiter.set_rate(Rate::ZERO).is_err() && limiter.set_burst(2).is_ok());
    assert!(limiter.is_empty(), "the keys are in the backend");
    let stats = limiter.stats();
    assert_eq!((stats.allowed, stats.waited, stats.calls.rejected), (1, 1, 1));
}
