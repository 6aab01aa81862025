//! A token that a stack takes for a call before it knows whether the call is sent.

use ripcord::Context;

use super::RateLimiter;
use super::bucket::Bucket;
use crate::Refused;

/// A granted token. If it is dropped before it is spent, it returns to the bucket.
#[must_use = "dropping it gives the token back"]
pub(crate) struct Token<'a> {
    /// The bucket. `None` once the token is spent.
    bucket: Option<&'a Bucket>,
}

impl RateLimiter {
    /// Waits for a token. If the caller drops it unspent, it returns to the bucket.
    pub(crate) async fn token(&self, ctx: &Context) -> Result<Token<'_>, Refused> {
        self.wait(ctx).await?;
        Ok(Token { bucket: Some(&self.bucket) })
    }
}

impl Token<'_> {
    /// Spends the token when its call is sent.
    pub(crate) fn spend(mut self) {
        self.bucket = None;
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        if let Some(bucket) = self.bucket {
            bucket.give_back();
        }
    }
}
