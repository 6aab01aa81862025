//! A token that a stack has for a call that it may come not to send.

use ripcord::Context;

use super::RateLimiter;
use super::bucket::Bucket;
use crate::Refused;

/// A granted token, which is given back if it is dropped before it is spent.
#[must_use = "dropping it gives the token back"]
pub(crate) struct Token<'a> {
    /// `None` once it is spent.
    bucket: Option<&'a Bucket>,
}

impl RateLimiter {
    /// Waits for a token that the caller may come to have no use for.
    pub(crate) async fn token(&self, ctx: &Context) -> Result<Token<'_>, Refused> {
        self.wait(ctx).await?;
        Ok(Token { bucket: Some(&self.bucket) })
    }
}

impl Token<'_> {
    /// Keeps the token: what it was taken for is sent.
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
