//! Conversions to and from tokio-util's tokens. loom does not check the code of the tokens. It checks how a context registers
//! with them.

use std::time::Duration;

use loom::thread;
use tokio_util::sync::CancellationToken;

use super::{cause, large_model, model};
use crate::{Clock, Context, ManualTime};

const SECOND: Duration = Duration::from_secs(1);

fn on_a_manual_clock() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock), time)
}

#[test]
fn conversion_against_cancel() {
    model(|| {
        let (ctx, cancel) = Context::background().with_cancel();
        let canceling = thread::spawn(move || cancel.cancel());
        let token = ctx.cancellation_token();
        canceling.join().unwrap();
        assert!(token.is_cancelled(), "a token was not canceled");
    });
}

#[test]
fn token_canceled_while_its_context_is_dropped() {
    model(|| {
        let token = CancellationToken::new();
        let ctx = Context::background().with_cancellation_token(&token);
        let canceling = thread::spawn(move || token.cancel());
        drop(ctx);
        canceling.join().unwrap();
    });
}

#[test]
fn token_canceled_while_a_context_above_is_canceled() {
    model(|| {
        let (root, cancel) = Context::background().with_cancel();
        let token = CancellationToken::new();
        let ctx = root.with_cancellation_token(&token);
        let canceling = thread::spawn(move || token.cancel());
        cancel.cancel_with("above");
        let seen = cause(&ctx);
        canceling.join().unwrap();
        assert_eq!(cause(&ctx), seen, "an end changed");
    });
}

#[test]
fn drop_of_a_context_against_its_deadline() {
    model(|| {
        let (root, time) = on_a_manual_clock();
        let ctx = root.with_timeout(SECOND);
        let token = ctx.cancellation_token();
        let advancing = thread::spawn(move || time.advance(SECOND));
        drop(ctx);
        advancing.join().unwrap();
        assert!(token.is_cancelled(), "a token was not canceled");
    });
}

#[test]
fn conversion_and_drop_of_a_shielded_context_against_a_cancel_above() {
    large_model(|| {
        let (root, time) = on_a_manual_clock();
        let (ctx, cancel) = root.with_cancel();
        let shielded = ctx.shielded(SECOND);
        drop(ctx);
        let canceling = thread::spawn(move || cancel.cancel());
        let token = shielded.cancellation_token();
        drop(shielded);
        canceling.join().unwrap();
        assert!(!token.is_cancelled(), "the grace was ignored");
        time.advance(SECOND);
        assert!(token.is_cancelled(), "a token was not canceled");
    });
}
