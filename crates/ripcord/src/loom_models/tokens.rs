//! Conversions to and from tokio-util's tokens. loom does not see inside the tokens; it sees how a context registers with them.

use loom::thread;
use tokio_util::sync::CancellationToken;

use super::{cause, model};
use crate::Context;

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
fn a_tokens_cancel_against_the_drop_of_its_context() {
    model(|| {
        let token = CancellationToken::new();
        let ctx = Context::background().with_cancellation_token(&token);
        let canceling = thread::spawn(move || token.cancel());
        drop(ctx);
        canceling.join().unwrap();
    });
}

#[test]
fn a_tokens_cancel_against_a_cancel_above() {
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
