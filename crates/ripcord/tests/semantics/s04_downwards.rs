//! 4. A parent's end reaches its children with the parent's error kind and cause. A child's end never reaches its parent.

use crate::common::{
    HOUR, SEC, Trace, User, Wakes, assert_canceled, assert_exceeded, assert_live, manual, other, poll,
};
use ripcord::Context;

/// Returns one descendant of every kind, some of them several levels down.
fn descendants(parent: &Context) -> Vec<Context> {
    let (cancelable, cancel) = parent.with_cancel();
    cancel.detach();
    vec![
        cancelable.clone(),
        parent.with_timeout(HOUR),
        parent.with_timeout_cause(HOUR, "never reported"),
        parent.with_value(User(1)),
        parent.with_name("n"),
        parent.merge(&other()),
        other().merge(parent),
        parent.clone(),
        cancelable.with_timeout_cause(HOUR, "never reported").with_value(Trace("t".into())).with_name("deep"),
    ]
}

#[test]
fn s04_a_cancel_reaches_every_kind_of_descendant_with_its_cause() {
    for waited in [false, true] {
        let (root, _time) = manual();
        let (parent, cancel) = root.with_cancel();
        let all = descendants(&parent);
        let wakes = Wakes::new();
        let mut waits: Vec<_> = all.iter().map(Context::done).collect();
        if waited {
            waits.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
        }
        cancel.cancel_with("the client hung up");
        all.iter().for_each(|ctx| assert_canceled(ctx, Some("the client hung up")));
        assert_eq!(wakes.count(), if waited { all.len() } else { 0 });
    }
}

#[test]
fn s04_a_deadline_reaches_every_kind_of_descendant_with_its_cause() {
    for waited in [false, true] {
        let (root, time) = manual();
        let parent = root.with_timeout_cause(SEC, "too slow");
        let all = descendants(&parent);
        let wakes = Wakes::new();
        let mut waits: Vec<_> = all.iter().map(Context::done).collect();
        if waited {
            waits.iter_mut().for_each(|wait| assert!(poll(wait, &wakes).is_pending()));
        }
        time.advance(SEC);
        all.iter().for_each(|ctx| assert_exceeded(ctx, Some("too slow")));
        assert_eq!(wakes.count(), if waited { all.len() } else { 0 });
        assert_live(&root);
    }
}

#[test]
fn s04_an_error_names_the_place_where_it_began_also_seen_from_below() {
    let (root, _time) = manual();
    let (parent, cancel) = root.with_name("above").with_cancel();
    let leaf = parent.with_name("below").with_timeout(HOUR);
    cancel.cancel();
    let (own, inherited) = (parent.err().expect("done"), leaf.err().expect("done"));
    assert_eq!(own.origin().location(), inherited.origin().location());
    assert_eq!(inherited.origin().name(), Some("above"));
}

#[test]
fn s04_a_childs_end_reaches_neither_its_parent_nor_its_siblings() {
    let (root, time) = manual();
    let (parent, _cancel) = root.with_cancel();
    let (child, cancel_child) = parent.with_cancel();
    let slow = parent.with_timeout(SEC);
    let sibling = parent.with_name("sibling");
    let wakes = Wakes::new();
    let (mut a, mut b) = (parent.done(), sibling.done());
    assert!(poll(&mut a, &wakes).is_pending());
    assert!(poll(&mut b, &wakes).is_pending());
    let mut c = child.done();
    assert!(poll(&mut c, &Wakes::new()).is_pending());

    cancel_child.cancel_with("child");
    time.advance(SEC);
    assert_canceled(&child, Some("child"));
    assert_exceeded(&slow, None);
    assert_live(&parent);
    assert_live(&sibling);
    assert_eq!(wakes.count(), 0, "a child's end woke somebody above or beside it");
}

#[test]
fn s04_a_merge_ends_with_whichever_ends_first_and_ends_neither() {
    for first in [0, 1] {
        let (root, _time) = manual();
        let (a, cancel_a) = root.with_cancel();
        let (b, cancel_b) = root.with_cancel();
        let merged = a.merge(&b);
        let below = merged.with_name("below");
        let wakes = Wakes::new();
        let mut wait = below.done();
        assert!(poll(&mut wait, &wakes).is_pending());
        if first == 0 {
            cancel_a.cancel_with("0");
            assert_live(&b);
            cancel_b.cancel_with("1");
        } else {
            cancel_b.cancel_with("1");
            assert_live(&a);
            cancel_a.cancel_with("0");
        }
        let cause = first.to_string();
        assert_canceled(&merged, Some(&cause));
        assert_canceled(&below, Some(&cause));
        assert_eq!(wakes.count(), 1);
        assert_live(&root);
    }
}

#[test]
fn s04_a_merge_has_the_earlier_deadline_and_its_cause() {
    let (root, time) = manual();
    let slow = root.with_timeout_cause(2 * SEC, "slow");
    let quick = root.with_timeout_cause(SEC, "quick");
    for merged in [slow.merge(&quick), quick.merge(&slow)] {
        assert_eq!(merged.deadline(), quick.deadline());
    }
    let (a, b) = (slow.merge(&quick), quick.merge(&slow));
    time.advance(SEC);
    assert_exceeded(&a, Some("quick"));
    assert_exceeded(&b, Some("quick"));
    assert_live(&slow);
}

#[test]
fn s04_without_cancel_keeps_values_and_cuts_the_rest() {
    let (root, time) = manual();
    let (parent, cancel) = root.with_value(User(1)).with_name("job").with_timeout_cause(SEC, "slow").with_cancel();
    let free = parent.without_cancel();
    let below = free.with_value(Trace("t".into()));
    assert_eq!(free.deadline(), None);
    assert_eq!(free.remaining(), None);
    cancel.cancel_with("stop");
    time.advance(HOUR);
    assert_live(&free);
    assert_live(&below);
    assert_eq!(below.value::<User>(), Some(&User(1)));
    assert_eq!(below.value::<Trace>(), Some(&Trace("t".into())));
    // Derived from a context that is already done, like the cleanup in the chapter.
    let late = parent.without_cancel();
    assert_live(&late);
    assert_eq!(late.value::<User>(), Some(&User(1)));
    // The derived context keeps the clock.
    let timed = late.with_timeout(SEC);
    assert_live(&timed);
    time.advance(SEC);
    assert_exceeded(&timed, None);
}
