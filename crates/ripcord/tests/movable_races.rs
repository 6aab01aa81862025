//! A reset against the expiry, from two threads. One of the two wins, and all observers agree on the winner.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{HOUR, SEC, Wakes, manual, poll, rounds};
use ripcord::{Context, DoneOwned, IdleTimeout, MovableDeadline};

const ROUNDS: usize = 1000;
const PER_ROUND: u32 = if cfg!(miri) { 8 } else { 1000 };
const NS: Duration = Duration::from_nanos(1);

fn story(ctx: &Context) -> Option<String> {
    ctx.err().map(|error| format!("{error:#}"))
}

enum Mover {
    Deadline(MovableDeadline),
    Idle(IdleTimeout),
}

impl Mover {
    fn reset(&self) -> bool {
        match self {
            Mover::Deadline(deadline) => deadline.reset_after(HOUR),
            Mover::Idle(idle) => idle.reset(),
        }
    }
}

/// A context whose deadline one thread moves while the deadline passes on another thread.
struct Raced {
    ctx: Context,
    mover: Mover,
    waiting: Option<(DoneOwned, Arc<Wakes>)>,
}

impl Raced {
    /// Creates an idle timeout, which a reset restarts, or a deadline, which a reset moves by an hour. A waiter arms a timer.
    fn new(root: &Context, when: Instant, is_idle: bool, is_waited_on: bool) -> Raced {
        let (ctx, mover) = if is_idle {
            let (ctx, idle) = root.with_idle_timeout(when - root.clock().now());
            (ctx, Mover::Idle(idle))
        } else {
            let (ctx, deadline) = root.with_movable_deadline(when);
            (ctx, Mover::Deadline(deadline))
        };
        let waiting = is_waited_on.then(|| {
            let (mut done, wakes) = (ctx.done_owned(), Wakes::new());
            assert!(poll(&mut done, &wakes).is_pending());
            (done, wakes)
        });
        Raced { ctx, mover, waiting }
    }

    /// Asserts that the waiter, if there is one, was woken `times` times.
    fn assert_woken(&self, times: usize) {
        if let Some((_, wakes)) = &self.waiting {
            assert_eq!(wakes.count(), times, "wakes of {}", self.ctx);
        }
    }
}

/// Each round has one kind: a movable deadline or an idle timeout, queried directly or through a child, and with a waiter,
/// whose timer fires, or without a waiter.
#[test]
fn reset_and_expiry_are_one_decision_in_a_million_rounds() {
    let (mut won, mut lost) = ([0_usize; 4], [0_usize; 4]);
    for round in 0..rounds(ROUNDS) {
        let (through_a_child, is_idle, is_waited_on) = (round & 1 != 0, round & 2 != 0, round & 4 != 0);
        let kind = usize::from(is_idle) + 2 * usize::from(is_waited_on);
        let (root, time) = manual();
        let start = time.now();
        // Each deadline passes one nanosecond after the previous deadline. An idle timeout that is reset lives for another
        // second.
        let first = if is_idle { SEC } else { NS };
        let raced: Vec<Raced> =
            (0..PER_ROUND).map(|index| Raced::new(&root, start + first + index * NS, is_idle, is_waited_on)).collect();
        // A reset of an idle timeout at the time of its start would change nothing, so the time is just before the expiry.
        time.advance(first - NS);
        let observe = |ctx: &Context| {
            time.advance(NS);
            if through_a_child { story(&ctx.with_name("child")) } else { story(ctx) }
        };
        let (took_effect, seen) = common::race(
            || raced.iter().map(|raced| raced.mover.reset()).collect::<Vec<bool>>(),
            || raced.iter().map(|raced| observe(&raced.ctx)).collect::<Vec<_>>(),
        );
        for ((raced, took_effect), seen) in raced.iter().zip(took_effect).zip(seen) {
            let Raced { ctx, mover, .. } = raced;
            if took_effect {
                won[kind] += 1;
                assert!(seen.is_none() && !ctx.is_done(), "ended by the old deadline: {seen:?}");
                raced.assert_woken(0);
            } else {
                lost[kind] += 1;
                assert!(ctx.is_done() && !mover.reset(), "{ctx}");
                assert!(seen.is_some() && seen == story(ctx), "two stories: {seen:?}, {:?}", story(ctx));
                raced.assert_woken(1);
            }
        }
        time.advance(HOUR);
        for raced in &raced {
            assert!(raced.ctx.is_done(), "{}", raced.ctx);
            raced.assert_woken(1);
        }
    }
    // Fewer rounds may not be enough for every kind.
    let met = won.iter().chain(&lost).all(|count| *count > 0);
    assert!(met || rounds(ROUNDS) < ROUNDS, "the threads never met: {won:?} won, {lost:?} lost");
}
