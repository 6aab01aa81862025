//! Each end reports the line of the user's code that caused it, and never a line of this crate.

#[path = "common/mod.rs"]
mod common;

use std::time::Duration;

use ripcord::{Cause, Context, Group, block_on};

#[track_caller]
fn assert_reports(ctx: &Context, line: u32) {
    let error = ctx.err().expect("it has ended");
    let location = error.origin().location();
    assert!(location.file().ends_with("tests/provenance.rs"), "{error:#}");
    assert_eq!(location.line(), line, "{error:#}");
}

#[test]
fn each_way_to_end_a_context_reports_the_users_line() {
    let root = Context::background();
    let ctx = root.with_timeout(Duration::ZERO);
    assert_reports(&ctx, line!() - 1);
    let ctx = root.with_timeout_cause(Duration::ZERO, "why");
    assert_reports(&ctx, line!() - 1);
    let ctx = root.with_deadline(std::time::Instant::now());
    assert_reports(&ctx, line!() - 1);
    let (ctx, cancel) = root.with_cancel();
    cancel.cancel();
    assert_reports(&ctx, line!() - 1);
    let (ctx, cancel) = root.with_cancel();
    cancel.handle().cancel_with("why");
    assert_reports(&ctx, line!() - 1);
    let (ctx, cancel) = root.with_cancel();
    drop(cancel);
    assert_reports(&ctx, line!() - 2);
}

fn threads(task: ripcord::BoxFuture) {
    drop(std::thread::spawn(move || block_on(task)));
}

#[test]
fn group_reports_the_line_of_the_task_that_failed() {
    let (group, ctx) = Group::with_executor(&Context::background(), threads);
    group.go(async { Err::<(), _>("failed") });
    let line = line!() - 1;
    ctx.wait();
    assert_reports(&ctx, line);
    assert!(block_on(group.wait()).is_err());

    let (group, ctx) = Group::with_executor(&Context::background(), threads);
    assert!(group.try_go(async { Err::<(), _>("failed") }));
    let line = line!() - 1;
    ctx.wait();
    assert_reports(&ctx, line);
    drop(group);
}

#[test]
fn group_reports_the_line_of_the_task_that_panicked() {
    let (group, ctx) = Group::with_executor(&Context::background(), threads);
    group.go(async { if true { panic!("on purpose") } else { Ok::<(), Cause>(()) } });
    let line = line!() - 1;
    ctx.wait();
    assert_reports(&ctx, line);
    drop(group);
}

#[test]
fn group_that_is_dropped_or_has_ended_reports_the_line_that_created_it() {
    let (group, ctx) = Group::with_executor(&Context::background(), threads);
    let line = line!() - 1;
    drop(group);
    assert_reports(&ctx, line);

    let (group, ctx) = Group::with_executor(&Context::background(), threads);
    let line = line!() - 1;
    assert!(block_on(group.wait()).is_ok());
    assert_reports(&ctx, line);
}

#[test]
fn group_of_a_builder_reports_the_line_that_built_it() {
    let builder = Group::builder().executor(threads).limit(1);
    let (group, ctx) = builder.build::<()>(&Context::background());
    let line = line!() - 1;
    drop(group);
    assert_reports(&ctx, line);
}

#[cfg(feature = "tokio")]
#[test]
fn group_on_tokio_reports_the_line_that_created_it() {
    let (group, ctx) = Group::new(&Context::background());
    let line = line!() - 1;
    drop(group);
    assert_reports(&ctx, line);
}

#[cfg(feature = "tokio-util")]
#[test]
fn token_reports_the_line_that_derived_the_context() {
    let token = tokio_util::sync::CancellationToken::new();
    let ctx = Context::background().with_cancellation_token(&token);
    let line = line!() - 1;
    token.cancel();
    assert_reports(&ctx, line);
}
