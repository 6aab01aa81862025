//! The text of a context and an error: the chain, Go's text, and the details of an end.

mod common;

use std::error::Error as _;
use std::time::Duration;

use common::{HOUR, MS, SEC, User, manual};
use ripcord::{Cause, Context, Error, ErrorKind, Value};

// ===== a context =====

#[test]
fn context_prints_as_its_chain() {
    let (ctx, _cancel) = Context::background().with_cancel();
    let ctx = ctx.with_timeout(5 * SEC).with_name("fetch").with_value(User(1));
    let shown = ctx.to_string();
    let rest = shown.strip_prefix("Background.WithCancel.WithDeadline(").expect("the chain from the root");
    let (left, rest) = rest.split_once(" left)").expect("the time left");
    assert!(left == "5.00s" || left.starts_with("4."), "{left} left of 5s");
    assert_eq!(rest, ".WithName(fetch).WithValue(User)");
}

#[test]
fn each_kind_of_context_prints_its_name() {
    let (root, time) = manual();
    let ctx = Context::background();
    assert_eq!(ctx.to_string(), "Background");
    assert_eq!(Context::todo().to_string(), "TODO");
    assert_eq!(Context::todo().with_name("n").to_string(), "TODO.WithName(n)");
    assert_eq!(ctx.with_value(User(1)).without_cancel().to_string(), "Background.WithValue(User).WithoutCancel");
    let (a, b) = (ctx.with_name("a"), Context::todo().with_name("b"));
    assert_eq!(a.merge(&b).to_string(), "Merge(Background.WithName(a), TODO.WithName(b))");
    assert_eq!(a.merge(&b).with_name("c").to_string(), "Merge(Background.WithName(a), TODO.WithName(b)).WithName(c)");
    assert_eq!(
        b.merge(&a.merge(&b)).to_string(),
        "Merge(TODO.WithName(b), Merge(Background.WithName(a), TODO.WithName(b)))"
    );
    // A root adds nothing to a merge.
    assert_eq!(ctx.merge(&a).to_string(), "Background.WithName(a)");
    assert_eq!(a.merge(&ctx).to_string(), "Background.WithName(a)");
    // The time left is measured on the context's own clock.
    let timed = root.with_timeout(90 * SEC);
    time.advance(80 * SEC + 10 * MS);
    assert!(timed.to_string().ends_with(".WithDeadline(9.99s left)"), "{timed}");
    time.advance(HOUR);
    assert!(!timed.to_string().contains('-'), "{timed}");
}

#[test]
fn value_prints_its_type_unless_show_is_overridden() {
    struct Token(&'static str);
    impl Value for Token {}
    struct RequestId(u32);
    impl Value for RequestId {
        fn show(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "req-{}", self.0)
        }
    }
    let ctx = Context::background().with_value(Token("secret")).with_value(RequestId(7));
    assert_eq!(ctx.value::<Token>().expect("there").0, "secret");
    for shown in [format!("{ctx}"), format!("{ctx:?}"), format!("{ctx:#?}")] {
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("Token") && shown.contains("req-7"), "{shown}");
    }
}

// ===== an error =====

#[test]
fn error_prints_gos_text() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_name("n").with_cancel();
    cancel.cancel_with("the cause is not part of it");
    assert_eq!(ctx.err().expect("done").to_string(), "context canceled");
    assert_eq!(root.with_timeout(Duration::ZERO).err().expect("done").to_string(), "context deadline exceeded");
}

#[test]
fn details_of_a_cancel_have_cause_location_name_and_age() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_name("fetch-user").with_cancel();
    let leaf = ctx.with_name("below").with_timeout(HOUR);
    cancel.cancel_with("the client has gone");
    let line = line!() - 1;
    time.advance(3 * SEC);
    let error = leaf.err().expect("done");
    let story = format!("{error:#}");
    assert!(story.starts_with("context canceled"), "{story}");
    for part in ["the client has gone", &format!("display.rs:{line}"), "fetch-user", "3.0s"] {
        assert!(story.contains(part), "{part:?} is not in {story:?}");
    }
    assert!(!story.contains("below"), "{story}");
    let origin = error.origin();
    assert_eq!((origin.location().file(), origin.location().line()), (file!(), line));
    assert_eq!(origin.name(), Some("fetch-user"));
    assert_eq!(origin.timeout(), None);
}

#[test]
fn details_of_a_deadline_have_location_and_timeout() {
    let (root, time) = manual();
    let ctx = root.with_name("outer").with_timeout_cause(2 * SEC, "the database is slow");
    let line = line!() - 1;
    let leaf = ctx.with_name("inner").with_timeout(HOUR);
    time.advance(5 * SEC);
    for ctx in [&ctx, &leaf] {
        let error = ctx.err().expect("done");
        let story = format!("{error:#}");
        assert!(story.starts_with("context deadline exceeded"), "{story}");
        for part in ["the database is slow", &format!("display.rs:{line}"), "outer", "2s"] {
            assert!(story.contains(part), "{part:?} is not in {story:?}");
        }
        assert!(!story.contains("inner"), "{story}");
        let origin = error.origin();
        assert_eq!((origin.location().file(), origin.location().line()), (file!(), line));
        assert_eq!(origin.name(), Some("outer"));
        assert_eq!(origin.timeout(), Some(2 * SEC));
    }
}

#[test]
fn deadline_set_as_an_instant_reports_its_timeout() {
    let (root, time) = manual();
    let ctx = root.with_deadline(time.now() + 2 * SEC);
    time.advance(2 * SEC);
    assert_eq!(ctx.err().expect("done").origin().timeout(), Some(2 * SEC));
}

#[test]
fn every_way_to_end_names_the_line_that_did_it() {
    let (root, time) = manual();
    let here = |error: Option<Error>, line: u32| {
        let error = error.expect("done");
        let at = error.origin().location();
        assert_eq!((at.file(), at.line()), (file!(), line), "{error:#}");
    };
    let (ctx, cancel) = root.with_cancel();
    cancel.cancel();
    here(ctx.err(), line!() - 1);

    let (ctx, cancel) = root.with_cancel();
    let handle = cancel.handle();
    handle.cancel();
    here(ctx.err(), line!() - 1);

    let (ctx, cancel) = root.with_cancel();
    cancel.handle().cancel_with("x");
    here(ctx.err(), line!() - 1);

    // A drop has no location. The error reports the line that created the canceler.
    let (ctx, cancel) = root.with_cancel();
    let line = line!() - 1;
    drop(cancel);
    here(ctx.err(), line);

    here(root.with_timeout(Duration::ZERO).err(), line!());
    here(root.with_deadline(time.now()).err(), line!());
    here(root.with_deadline_cause(time.now(), "x").err(), line!());
}

#[test]
fn name_is_the_nearest_at_or_above_the_place_where_the_end_began() {
    let (root, _time) = manual();
    let (outer, cancel_outer) = root.with_name("outer").with_cancel();
    let (inner, cancel_inner) = outer.with_name("inner").with_value(User(1)).with_cancel();
    let leaf = inner.with_name("leaf");
    cancel_inner.cancel();
    assert_eq!(leaf.err().expect("done").origin().name(), Some("inner"));
    cancel_outer.cancel();
    assert_eq!(leaf.err().expect("done").origin().name(), Some("inner"));
    assert_eq!(outer.err().expect("done").origin().name(), Some("outer"));
    let (nameless, cancel) = root.with_cancel();
    let below = nameless.with_name("below");
    cancel.cancel();
    assert_eq!(below.err().expect("done").origin().name(), None);
}

#[test]
fn name_through_a_merge_is_that_of_the_half_that_ended() {
    let (root, _time) = manual();
    let (a, _cancel_a) = root.with_name("a").with_cancel();
    let (b, cancel_b) = root.with_name("b").with_cancel();
    for merged in [a.merge(&b), b.merge(&a)] {
        let below = merged.with_name("merged");
        cancel_b.cancel();
        assert_eq!(below.err().expect("done").origin().name(), Some("b"));
    }
}

#[test]
fn cause_is_the_source_and_keeps_its_type() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    cancel.cancel_with(std::io::Error::other("disk full"));
    let error = ctx.err().expect("done");
    let source = error.source().expect("the cause");
    assert_eq!(source.to_string(), "disk full");
    assert!(source.is::<std::io::Error>());
    let cause: Cause = ctx.cause().expect("done");
    assert_eq!(cause.downcast_ref::<std::io::Error>().expect("its type").kind(), std::io::ErrorKind::Other);
    assert!(cause.downcast_ref::<std::fmt::Error>().is_none());
    assert_eq!(cause.clone().to_string(), "disk full");
    // Without a cause there is no source, and `cause` returns the error itself, as in Go.
    let (ctx, cancel) = root.with_cancel();
    cancel.cancel();
    let error = ctx.err().expect("done");
    assert!(error.source().is_none() && error.cause().is_none());
    let cause = ctx.cause().expect("done");
    assert_eq!(cause.downcast_ref::<Error>().expect("the error itself").kind(), ErrorKind::Canceled);
}

#[test]
fn error_of_one_context_may_be_the_cause_of_another() {
    let (root, _time) = manual();
    let (inner, cancel) = root.with_cancel();
    cancel.cancel_with("the first reason");
    let (outer, cancel) = root.with_cancel();
    cancel.cancel_with(inner.err().expect("done"));
    let error = outer.err().expect("done");
    let mut reasons = Vec::new();
    let mut next = error.source();
    while let Some(reason) = next {
        reasons.push(reason.to_string());
        next = reason.source();
    }
    assert_eq!(reasons, ["context canceled", "the first reason"]);
}

#[test]
fn error_becomes_an_io_error() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    cancel.cancel_with("stop");
    let canceled = std::io::Error::from(ctx.err().expect("done"));
    // The loops of the standard library would repeat a call that returns `Interrupted` forever.
    assert_eq!(canceled.kind(), std::io::ErrorKind::Other);
    assert_eq!(canceled.to_string(), "context canceled");
    let expired = std::io::Error::from(root.with_timeout(Duration::ZERO).err().expect("done"));
    assert_eq!(expired.kind(), std::io::ErrorKind::TimedOut);
    let inner = expired.get_ref().expect("the error is kept").downcast_ref::<Error>().expect("its type");
    assert!(inner.is_deadline_exceeded());
}

#[test]
fn error_outlives_its_context_and_takes_no_lock() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_name(String::from("gone")).with_cancel();
    cancel.cancel_with(String::from("why"));
    let error = ctx.err().expect("done");
    drop((ctx, cancel, root, time));
    let story = format!("{error:#} {error:?}");
    assert!(story.contains("why") && story.contains("gone"), "{story}");
    let other = error.clone();
    assert_eq!(std::thread::spawn(move || other.to_string()).join().expect("no panic"), error.to_string());
}

#[test]
fn small_types_have_useful_debug_output() {
    let (root, time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let shown = [
        format!("{cancel:?}"),
        format!("{:?}", cancel.handle()),
        format!("{:?}", ctx.after_func(|| ())),
        format!("{:?}", ctx.done()),
        format!("{:?}", ctx.done_owned()),
        format!("{:?}", ctx.clock()),
        format!("{time:?}"),
        format!("{:?}", ErrorKind::Canceled),
        format!("{:?}", Cause::from("why")),
    ];
    for text in shown {
        assert!(!text.is_empty());
    }
}
