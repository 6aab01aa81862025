//! Tests of the bucket with clock readings set by the test, including stale readings.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::rate::Rate;
use super::*;

fn bucket(rate: Rate, burst: u32) -> (Bucket, Arc<AtomicU64>) {
    let reading = Arc::new(AtomicU64::new(0));
    let time = Time::given(Arc::clone(&reading));
    (Bucket::new(Quota::new(rate, burst).unwrap(), time, Arc::new(Numbers::new())), reading)
}

/// Sets the rate. Returns whether no caller waited.
fn set_rate(bucket: &Bucket, rate: Rate) -> bool {
    bucket.set_quota(|quota| Quota { rate, ..quota }).is_empty()
}

/// A regression test of a fault in `golang.org/x/time/rate`: a caller with an older reading of the clock than another caller sets
/// the clock back, and the time since then earns tokens a second time. That limiter grants 400,000 tokens here.
#[test]
fn stale_reading_mints_no_tokens() {
    let (bucket, reading) = bucket(Rate::per_second(1e6), 10);
    let mut granted = 0;
    for micros in 0..100_000u64 {
        for stale in [0, 5, 0, 5] {
            reading.store(micros.saturating_sub(stale) * 1000, Ordering::Relaxed);
            granted += u64::from(bucket.take(1)) + u64::from(bucket.take(1));
        }
    }
    assert!((99_990..=100_010).contains(&granted), "{granted}");
}

#[test]
fn stale_reading_sets_no_rate_for_the_past() {
    let (bucket, reading) = bucket(Rate::per_second(1e9), 1000);
    assert!(bucket.take(1000));
    reading.store(500, Ordering::Relaxed);
    assert!(set_rate(&bucket, Rate::ZERO));
    // The time counts as 500, not as 100.
    reading.store(100, Ordering::Relaxed);
    assert!(set_rate(&bucket, Rate::per_second(1e9)));
    reading.store(600, Ordering::Relaxed);
    assert!(bucket.take(600) && !bucket.take(1));
}

#[test]
fn schedule_that_starts_again_keeps_what_is_left() {
    for rate in [1e9, 1e10, 1e11] {
        let (bucket, reading) = bucket(Rate::per_second(rate), 1000);
        assert!(bucket.take(400));
        // Far enough for several starts. The bucket is full each time.
        for step in 1..100u64 {
            reading.store(step << 40, Ordering::Relaxed);
            assert!(bucket.take(600) && bucket.take(400) && !bucket.take(1));
        }
    }
}

#[test]
fn schedule_that_starts_again_keeps_what_is_promised() {
    let (bucket, reading) = bucket(Rate::per_second(1e9), 10);
    // Just below the limit: 2^61 units minus 2^59 units are 2.6e10 tokens.
    reading.store(25_000_000_000, Ordering::Relaxed);
    assert!(bucket.take(10));
    let wait = || bucket.claim(10, Claim::Wait { remaining: None });
    let promises: Vec<_> = (0..1_000_000).map(|_| wait()).collect();
    let Some(Claimed::Later { id, since, act_at: Some(due) }) = promises.last() else { panic!("promised") };
    reading.store(due - 1, Ordering::Relaxed);
    assert_eq!(bucket.progress(*id, *since, Waker::noop().clone()), Progress::Due(Some(*due)));
    bucket.start_again(&mut bucket.state());
    assert_eq!(bucket.progress(*id, *since, Waker::noop().clone()), Progress::Due(Some(*due)));
    reading.store(*due, Ordering::Relaxed);
    assert!(matches!(bucket.progress(*id, *since, Waker::noop().clone()), Progress::Served(_)));
}

#[test]
fn token_given_back_is_there_again_up_to_a_burst() {
    let (bucket, reading) = bucket(Rate::per_second(1e9), 10);
    assert!(bucket.take(10));
    reading.store(9, Ordering::Relaxed);
    for _ in 0..5 {
        bucket.give_back();
    }
    // Nine tokens have been earned, and there is room for one more.
    assert!(bucket.take(10) && !bucket.take(1));
}

#[test]
fn token_given_back_while_others_wait_moves_each_of_them_up() {
    let (bucket, reading) = bucket(Rate::per_second(1e9), 10);
    assert!(bucket.take(10));
    let wait = || match bucket.claim(1, Claim::Wait { remaining: None }) {
        Claimed::Later { id, since, .. } => (id, since),
        claimed => panic!("the bucket is empty: {claimed:?}"),
    };
    let waiters = [wait(), wait(), wait()];
    bucket.give_back();
    let progress = |(id, since)| bucket.progress(id, since, Waker::noop().clone());
    assert_eq!(
        waiters.map(progress),
        [Progress::Served(Duration::ZERO), Progress::Due(Some(1)), Progress::Due(Some(2))]
    );
    // The token of the last waiter is free again, once.
    assert_eq!(bucket.give_up(waiters[2].0), units(1));
    reading.store(2, Ordering::Relaxed);
    assert!(matches!(progress(waiters[1]), Progress::Served(_)));
    assert!(bucket.take(1) && !bucket.take(1));
}

#[test]
fn token_given_back_to_a_full_bucket_leaves_a_due_promise_due() {
    let (bucket, reading) = bucket(Rate::per_second(1e9), 2);
    assert!(bucket.take(2));
    let Claimed::Later { id, since, .. } = bucket.claim(1, Claim::Wait { remaining: None }) else {
        panic!("the bucket is empty")
    };
    reading.store(10, Ordering::Relaxed);
    bucket.give_back();
    assert!(matches!(bucket.progress(id, since, Waker::noop().clone()), Progress::Served(_)));
    assert!(bucket.take(2) && !bucket.take(1));
}

#[derive(Clone, Debug)]
enum Step {
    /// Takes tokens. The second number is the age of the clock reading, in nanoseconds.
    Take(u32, u64),
    Advance(u64),
    /// Sets the rate, in tokens per millisecond.
    SetRate(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let stale = || prop_oneof![Just(0), 0u64..2_000, 0u64..3_000_000];
    prop_oneof![
        6 => (1u32..8, stale()).prop_map(|(tokens, stale)| Step::Take(tokens, stale)),
        3 => (0u64..2_000_000).prop_map(Step::Advance),
        1 => (0u32..4_000).prop_map(Step::SetRate),
    ]
}

proptest! {
    /// Counts in millionths of a token. Every rate in this test earns a whole number of millionths per nanosecond.
    #[test]
    fn stale_reading_is_granted_what_was_due_at_its_time(steps in vec(step(), 1..150), burst in 1u32..8) {
        const TOKEN: i128 = 1_000_000;
        /// The tolerance. The limiter guarantees 2^-26 of a token.
        const UNIT: i128 = 1;
        let (bucket, reading) = bucket(Rate::per_second(1e6), burst);
        let full = i128::from(burst) * TOKEN;
        let mut now = 10_000_000u64;
        reading.store(now, Ordering::Relaxed);
        // For each rate: its start, its amount per nanosecond, and the amount earned before its start.
        let mut rates = vec![(0, 1_000i128, 0i128)];
        let earned = |rates: &[(u64, i128, i128)], at: u64| {
            let (since, earns, before) = rates.iter().rev().find(|(since, ..)| *since <= at).unwrap();
            before + earns * i128::from(at - since)
        };
        let mut grants: Vec<(u64, u32)> = Vec::new();
        for step in steps {
            match step {
                Step::Advance(nanos) => now += nanos,
                Step::Take(tokens, stale) => {
                    let at = now.saturating_sub(stale);
                    reading.store(at, Ordering::Relaxed);
                    if bucket.take(tokens) {
                        // A reading from before the last change of the rate counts as a reading at the change.
                        grants.push((at.max(rates.last().unwrap().0), tokens));
                    }
                }
                Step::SetRate(per_milli) => {
                    // A change reads the clock under the lock, so its reading is never older than that of a grant.
                    reading.store(now, Ordering::Relaxed);
                    prop_assert!(set_rate(&bucket, Rate::per(per_milli, Duration::from_millis(1))));
                    rates.push((now, i128::from(per_milli), earned(&rates, now)));
                }
            }
            let granted: i128 = grants.iter().map(|(_, tokens)| i128::from(*tokens) * TOKEN).sum();
            prop_assert!(granted <= full + earned(&rates, now) + UNIT, "{granted} in all");
        }
        grants.sort_unstable();
        let (mut left, mut before) = (full, 0);
        for (at, tokens) in grants {
            left = (left + earned(&rates, at) - earned(&rates, before)).min(full) - i128::from(tokens) * TOKEN;
            before = at;
            prop_assert!(left >= -UNIT, "{} more than due at {at} ns", -left);
        }
    }
}
