//! The place where a deadline was set, queried on a live context, and ends that report a location given by their caller.

use std::panic::Location;
use std::time::{Duration, Instant};

use ripcord::{Clock, Context};

const SEC: Duration = Duration::from_secs(1);

#[test]
fn live_context_names_its_deadline() {
    let ctx = Context::background().with_name("outer").with_timeout(5 * SEC);
    let line = line!() - 1;
    let below = ctx.with_cancel().0.with_name("inner").with_timeout(60 * SEC);
    let origin = below.deadline_origin().expect("it has a deadline");
    assert_eq!((origin.timeout(), origin.name(), origin.location().line()), (Some(5 * SEC), Some("outer"), line));
    assert_eq!(origin.elapsed(), None);
    assert!(origin.to_string().starts_with(concat!("timeout of 5s set at ", file!(), ":")), "{origin}");
    assert!(origin.to_string().ends_with(" in outer"), "{origin}");
}

#[test]
fn context_without_deadline_has_no_origin() {
    let ctx = Context::background().with_timeout(SEC);
    for none in [Context::background(), Context::background().with_cancel().0, ctx.without_cancel()] {
        assert!(none.deadline_origin().is_none());
    }
}

#[test]
fn ended_deadline_still_names_itself() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_name("request").with_timeout(SEC);
    let below = ctx.with_name("below");
    time.advance(SEC);
    assert!(below.is_done());
    let origin = below.deadline_origin().expect("the deadline passed");
    assert_eq!((origin.timeout(), origin.name()), (Some(SEC), Some("request")));
}

#[test]
fn merged_context_names_the_earlier_deadline() {
    let (a, b) = (Context::background().with_name("a"), Context::background().with_name("b"));
    let (late, soon) = (a.with_timeout(60 * SEC), b.with_timeout(SEC));
    for merged in [late.merge(&soon), soon.merge(&late)] {
        assert_eq!(merged.with_name("merged").deadline_origin().expect("it has one").name(), Some("b"));
    }
}

#[test]
fn canceled_deadline_has_no_origin() {
    let (ctx, cancel) = Context::background().with_cancel();
    let below = ctx.with_timeout(SEC);
    cancel.cancel();
    assert!(below.is_done() && below.err().is_some());
    assert!(below.deadline_origin().is_none());
}

#[test]
fn given_location_is_reported() {
    let here = Location::caller();
    let root = Context::background();
    let timeout = root.with_timeout_at(Duration::ZERO, here);
    let deadline = root.with_deadline_at(Instant::now(), here);
    let (canceled, cancel) = root.with_cancel();
    cancel.cancel_at("why", here);
    let (by_handle, cancel) = root.with_cancel();
    cancel.handle().cancel_at("why", here);
    for ctx in [&timeout, &deadline, &canceled, &by_handle] {
        assert_eq!(ctx.err().expect("it has ended").origin().location(), here);
    }
    assert_eq!(canceled.cause().expect("it has ended").to_string(), "why");
    assert_eq!(by_handle.cause().expect("it has ended").to_string(), "why");
}
