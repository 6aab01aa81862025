//! A token that a stack takes for a call before it knows whether the call is sent.

use std::sync::Arc;

use ripcord::Context;

use super::backend::Promise;
use super::bucket::Bucket;
use super::stats::Numbers;
use super::{RateLimiter, Source, remote};
use crate::Refused;

/// A granted token. If it is dropped before it is spent, it returns to the bucket.
#[must_use = "dropping it gives the token back"]
pub(crate) struct Token<'a> {
    /// `None` once the token is spent.
    unspent: Option<Unspent<'a>>,
}

enum Unspent<'a> {
    Bucket(&'a Bucket),
    Remote(Box<dyn Promise>, &'a Arc<Numbers>),
}

impl RateLimiter {
    /// Waits for a token. If the caller drops it unspent, it returns to the bucket.
    pub(crate) async fn token(&self, ctx: &Context) -> Result<Token<'_>, Refused> {
        let unspent = match &self.source {
            Source::Bucket(bucket) => {
                self.wait(ctx).await?;
                Some(Unspent::Bucket(bucket))
            }
            Source::Remote(remote) => {
                let (_waited, promise) = remote::wait(remote, ctx, 1, self.built_at).await?;
                promise.map(|promise| Unspent::Remote(promise, &remote.numbers))
            }
        };
        Ok(Token { unspent })
    }
}

impl Token<'_> {
    /// Spends the token when its call is sent.
    pub(crate) fn spend(mut self) {
        self.unspent = None;
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        match self.unspent.take() {
            Some(Unspent::Bucket(bucket)) => bucket.give_back(),
            Some(Unspent::Remote(promise, numbers)) => remote::start_refund(promise, numbers, |_| {}),
            None => {}
        }
    }
}
