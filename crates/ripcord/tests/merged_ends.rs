//! Of the two ends of a merged context's parents, the earlier one counts, with its cause, its line and its name. This also
//! holds if both ends are at one time of a stopped clock.

mod common;

use common::{SEC, manual};
use ripcord::{Canceler, Clock, Context};

fn cause(ctx: &Context) -> String {
    ctx.cause().expect("it has ended").to_string()
}

/// Two named contexts with their cancelers, on a stopped clock.
fn two() -> [(Context, Canceler); 2] {
    let (root, _time) = manual();
    ["a", "b"].map(|name| root.with_name(name).with_cancel())
}

#[test]
fn late_merge_takes_the_first_of_two_cancels_at_one_time() {
    for by_handle in [false, true] {
        let [(a, ka), (b, kb)] = two();
        if by_handle {
            kb.handle().cancel_with("first");
        } else {
            kb.cancel_with("first");
        }
        ka.cancel_with("second");
        let (below_a, below_b) = (a.with_cancel().0, b.with_name("below").with_timeout(SEC));
        for merged in [a.merge(&b), b.merge(&a), below_a.merge(&below_b), below_b.merge(&below_a)] {
            assert_eq!(cause(&merged), "first");
        }
    }
}

#[test]
fn late_merge_takes_a_canceler_that_was_dropped_before_a_cancel() {
    let [(a, ka), (b, kb)] = two();
    drop(kb);
    ka.cancel_with("second");
    for merged in [a.merge(&b), b.merge(&a)] {
        let origin = merged.err().expect("both have ended").origin();
        assert!(origin.is_dropped_canceler() && origin.name() == Some("b"), "{origin}");
    }
}

#[test]
fn existing_merge_keeps_the_first_of_two_cancels_at_one_time() {
    for is_watched in [false, true] {
        let [(a, ka), (b, kb)] = two();
        let merged = [a.merge(&b), b.merge(&a)];
        let watching = is_watched.then(|| merged.each_ref().map(|merged| merged.after_func(|| {})));
        kb.cancel_with("first");
        ka.cancel_with("second");
        for merged in &merged {
            assert_eq!(cause(merged), "first");
            assert_eq!(merged.err().expect("it has ended").origin().name(), Some("b"));
        }
        drop(watching);
    }
}

#[test]
fn merge_of_merges_takes_the_first_of_many_cancels_at_one_time() {
    let (root, _time) = manual();
    let mut contexts: Vec<(Context, Canceler)> = (0..8).map(|_| root.with_cancel()).collect();
    let early = contexts[1..].iter().fold(contexts[0].0.clone(), |merged, (ctx, _)| merged.merge(ctx));
    for (index, (_, cancel)) in contexts.iter().enumerate().rev() {
        cancel.cancel_with(index.to_string());
    }
    assert_eq!(cause(&early), "7");
    for _ in 0..contexts.len() {
        contexts.rotate_left(1);
        let chain = contexts[1..].iter().fold(contexts[0].0.clone(), |merged, (ctx, _)| ctx.merge(&merged));
        let pairs = contexts.chunks(2).map(|pair| pair[0].0.merge(&pair[1].0));
        let tree = pairs.reduce(|one, other| one.with_cancel().0.merge(&other)).expect("there are some");
        assert_eq!((cause(&chain), cause(&tree)), ("7".to_owned(), "7".to_owned()));
    }
}

#[test]
fn deadline_wins_over_a_cancel_made_at_its_time_before_or_after_a_merge() {
    let (root, time) = manual();
    let (a, cancel) = root.with_name("a").with_cancel();
    let timed = root.with_name("timed").with_timeout(SEC);
    let early = a.merge(&timed);
    time.advance(SEC);
    cancel.cancel();
    for merged in [early, a.merge(&timed), timed.merge(&a)] {
        let error = merged.err().expect("both have ended");
        assert!(error.is_deadline_exceeded() && error.origin().name() == Some("timed"), "{error:#}");
    }
}

#[test]
fn later_cancel_on_another_clock_does_not_rename_a_deadline() {
    // The second clock is an hour ahead, so by its number the cancel comes before the deadline.
    let (canceled, cancel) = Context::background().with_name("canceled").with_cancel();
    let (root, time) = manual();
    let timed = root.with_name("timed").with_timeout(SEC);
    let merged = [canceled.merge(&timed), timed.merge(&canceled)];
    let below = merged.each_ref().map(|merged| merged.with_name("below").with_cancel());
    time.advance(SEC);
    let story = |ctx: &Context| format!("{:#}", ctx.err().expect("it has ended"));
    let before: Vec<String> = merged.iter().map(story).collect();
    cancel.cancel_with("too late");
    for (ctx, before) in
        merged.iter().zip(&before).chain(below.each_ref().map(|below| &below.0).into_iter().zip(&before))
    {
        assert_eq!(&story(ctx), before);
        assert!(before.ends_with(" in timed)"), "{before}");
    }
}

#[test]
fn later_deadline_on_another_clock_does_not_rename_a_cancel() {
    let (root, time) = manual();
    let (canceled, cancel) = root.with_name("canceled").with_cancel();
    // The second clock is an hour behind, so by its number the deadline comes before the cancel.
    let (clock, time_behind) = Clock::manual();
    let timed = Context::background().with_clock(clock).with_name("timed").with_timeout(SEC);
    let merged = canceled.merge(&timed);
    time.advance(SEC);
    cancel.cancel_with("canceled");
    assert_eq!(merged.err().expect("it has ended").origin().name(), Some("canceled"));
    time_behind.advance(SEC);
    assert!(timed.is_done());
    assert_eq!(merged.err().expect("it has ended").origin().name(), Some("canceled"));
}
