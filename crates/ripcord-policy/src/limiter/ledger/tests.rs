//! The ledger under readings of the clock that a test makes up.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn ledger(rate: Rate, burst: u32) -> (Ledger, Arc<AtomicU64>) {
    let reading = Arc::new(AtomicU64::new(0));
    (Ledger::new(rate, burst, Time::given(Arc::clone(&reading))), reading)
}

/// The fault of `golang.org/x/time/rate`: a caller whose reading of the clock is older than another's sets the clock
/// back, and what has been earned since then is earned again. It grants 400,000 here.
#[test]
fn a_stale_reading_mints_nothing() {
    let (ledger, reading) = ledger(Rate::per_second(1e6), 10);
    let mut granted = 0;
    for micros in 0..100_000u64 {
        for stale in [0, 5, 0, 5] {
            reading.store(micros.saturating_sub(stale) * 1000, Ordering::Relaxed);
            granted += u64::from(ledger.take(1)) + u64::from(ledger.take(1));
        }
    }
    assert!((99_990..=100_010).contains(&granted), "{granted}");
}

#[test]
fn a_stale_reading_changes_no_rate_for_the_past() {
    let (ledger, reading) = ledger(Rate::per_second(1e9), 1000);
    assert!(ledger.take(1000));
    reading.store(500, Ordering::Relaxed);
    ledger.set_rate(&mut ledger.book(), Rate::ZERO);
    // As if that had been at 500, not at 100.
    reading.store(100, Ordering::Relaxed);
    ledger.set_rate(&mut ledger.book(), Rate::per_second(1e9));
    reading.store(600, Ordering::Relaxed);
    assert!(ledger.take(600) && !ledger.take(1));
}

#[test]
fn a_schedule_begun_again_keeps_what_is_left_and_what_is_owed() {
    for rate in [1e12, 1e15, 1e18] {
        let (ledger, reading) = ledger(Rate::per_second(rate), 1000);
        assert!(ledger.take(400));
        // Far enough for several beginnings; the bucket is full each time.
        for step in 1..100u64 {
            reading.store(step << 40, Ordering::Relaxed);
            assert!(ledger.take(600) && ledger.take(400) && !ledger.take(1));
        }
    }
}

#[test]
fn what_is_given_back_is_there_again_up_to_a_burst_and_moves_up_who_waits() {
    let (ledger, reading) = ledger(Rate::per_second(1e9), 10);
    assert!(ledger.take(10));
    reading.store(7, Ordering::Relaxed);
    // Seven have been earned, and three of five find room.
    assert_eq!(ledger.give_back(&mut ledger.book(), 5), units(3));
    assert!(ledger.take(10) && !ledger.take(1));

    // Whose end was at the eleventh has it at the tenth, and so has the reservation behind it one token less before it.
    let mut book = ledger.book();
    let first = ledger.take_ahead(&book, 4, 7, |_| true).unwrap();
    let waiter = book.queue.push_waiter(first.start, units(4));
    let end = book.queue.end_of(waiter).unwrap();
    assert_eq!(ledger.give_back(&mut book, 1), units(1));
    assert_eq!(book.queue.end_of(waiter), Some(end - units(1)));
    assert_eq!(ledger.left(&mut book), -units(3).cast_signed());

    // A reservation does not move, so what comes back is for those behind it, as far as it needs none itself.
    let fixed = ledger.take_ahead(&book, 2, 7, |_| true).unwrap();
    let fixed = book.queue.push_fixed(fixed.start, units(2), fixed.act_at.unwrap());
    let end = book.queue.end_of(fixed).unwrap();
    assert_eq!(ledger.give_back(&mut book, 3), units(1));
    assert_eq!(book.queue.end_of(fixed), Some(end - units(1)));
    assert_eq!(ledger.left(&mut book), -units(4).cast_signed());
}

#[derive(Clone, Debug)]
enum Step {
    /// By a reading so many nanoseconds older than the newest.
    Take(u32, u64),
    /// What was granted by this number, counted round, was not used.
    GiveBack(usize),
    Advance(u64),
    /// Tokens a millisecond.
    SetRate(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let stale = || prop_oneof![Just(0), 0u64..2_000, 0u64..3_000_000];
    prop_oneof![
        6 => (1u32..8, stale()).prop_map(|(tokens, stale)| Step::Take(tokens, stale)),
        1 => any::<usize>().prop_map(Step::GiveBack),
        3 => (0u64..2_000_000).prop_map(Step::Advance),
        1 => (0u32..4_000).prop_map(Step::SetRate),
    ]
}

proptest! {
    /// In millionths of a token, of which every rate here earns a whole number a nanosecond.
    #[test]
    fn stale_readings_are_granted_what_was_due_then(steps in vec(step(), 1..150), burst in 1u32..8) {
        const TOKEN: i128 = 1_000_000;
        let (ledger, reading) = ledger(Rate::per_second(1e6), burst);
        let full = i128::from(burst) * TOKEN;
        let mut now = 10_000_000u64;
        reading.store(now, Ordering::Relaxed);
        // As of when each rate holds, what it earns in a nanosecond, and what was earned before.
        let mut rates = vec![(0, 1_000i128, 0i128)];
        let earned = |rates: &[(u64, i128, i128)], at: u64| {
            let (since, earns, before) = rates.iter().rev().find(|(since, ..)| *since <= at).unwrap();
            before + earns * i128::from(at - since)
        };
        let mut grants: Vec<(u64, u32)> = Vec::new();
        let mut given_back = false;
        for step in steps {
            match step {
                Step::Advance(nanos) => now += nanos,
                Step::Take(tokens, stale) => {
                    let at = now.saturating_sub(stale);
                    reading.store(at, Ordering::Relaxed);
                    if ledger.take(tokens) {
                        // From before the last change of the rate it is as good as from then.
                        grants.push((at.max(rates.last().unwrap().0), tokens));
                    }
                }
                Step::GiveBack(which) if !grants.is_empty() => {
                    let which = which % grants.len();
                    let (_, tokens) = grants.swap_remove(which);
                    reading.store(now, Ordering::Relaxed);
                    ledger.give_back(&mut ledger.book(), tokens);
                    given_back = true;
                }
                Step::GiveBack(_) => {}
                Step::SetRate(per_milli) => {
                    // Read under the lock, so never older than what has been granted.
                    reading.store(now, Ordering::Relaxed);
                    let rate = Rate::per(per_milli, Duration::from_millis(1));
                    ledger.set_rate(&mut ledger.book(), rate);
                    rates.push((now, i128::from(per_milli), earned(&rates, now)));
                }
            }
            let granted: i128 = grants.iter().map(|(_, tokens)| i128::from(*tokens) * TOKEN).sum();
            prop_assert!(granted <= full + earned(&rates, now), "{granted} in all");
        }
        // What was given back late may have been used late, so there is no telling where the rest belong.
        if !given_back {
            grants.sort_unstable();
            let (mut left, mut before) = (full, 0);
            for (at, tokens) in grants {
                left = (left + earned(&rates, at) - earned(&rates, before)).min(full) - i128::from(tokens) * TOKEN;
                before = at;
                prop_assert!(left >= 0, "{} more than due at {at} ns", -left);
            }
        }
    }
}
