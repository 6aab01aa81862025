//! A reset against the expiry, from two threads: one of them wins, and all observers agree on which.

mod common;

use std::time::Duration;

use common::{HOUR, manual};
use ripcord::{Context, MovableDeadline};

const ROUNDS: usize = if cfg!(miri) { 4 } else { 1000 };
const PER_ROUND: u32 = if cfg!(miri) { 8 } else { 1000 };
const NS: Duration = Duration::from_nanos(1);

fn story(ctx: &Context) -> Option<String> {
    ctx.err().map(|error| format!("{error:#}"))
}

#[test]
fn reset_and_expiry_are_one_decision_in_a_million_rounds() {
    let (mut won, mut lost) = (0_usize, 0_usize);
    for round in 0..ROUNDS {
        let (root, time) = manual();
        let start = time.now();
        // Each deadline passes one nanosecond after the one before.
        let contexts: Vec<(Context, MovableDeadline)> =
            (1..=PER_ROUND).map(|index| root.with_movable_deadline(start + index * NS)).collect();
        let observe = |ctx: &Context| {
            time.advance(NS);
            if round % 2 == 0 { story(ctx) } else { story(&ctx.with_name("child")) }
        };
        let (took_effect, seen) = common::race(
            || contexts.iter().map(|(_, deadline)| deadline.reset_after(HOUR)).collect::<Vec<bool>>(),
            || contexts.iter().map(|(ctx, _)| observe(ctx)).collect::<Vec<_>>(),
        );
        for (((ctx, deadline), took_effect), seen) in contexts.iter().zip(took_effect).zip(seen) {
            if took_effect {
                won += 1;
                assert!(seen.is_none() && !ctx.is_done(), "ended by the old deadline: {seen:?}");
            } else {
                lost += 1;
                assert!(ctx.is_done() && !deadline.reset_after(HOUR), "{ctx}");
                assert!(seen.is_some() && seen == story(ctx), "two stories: {seen:?}, {:?}", story(ctx));
            }
        }
    }
    assert!(cfg!(miri) || won > 0 && lost > 0, "the threads never met: {won} won, {lost} lost");
}
