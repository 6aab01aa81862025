//! Claims in flight, and tokens that are not used yet.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use ripcord_policy::limiter::backend::{BoxFuture, Claimed, Promise, Refunded};
use tokio::sync::watch;

use super::shared::{Bucket, Shared};

/// A claim. If it is dropped after it was sent, the client's thread completes it and returns its tokens.
pub(super) struct Claiming {
    shared: Arc<Shared>,
    /// The claim until it is answered, and what to call if it is dropped and its tokens have returned.
    claim: Option<(BoxFuture<'static, Claimed>, Refunded)>,
    is_sent: bool,
}

impl Claiming {
    pub(super) fn new(shared: Arc<Shared>, claim: BoxFuture<'static, Claimed>, refunded: Refunded) -> Self {
        Claiming { shared, claim: Some((claim, refunded)), is_sent: false }
    }
}

impl Future for Claiming {
    type Output = Claimed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Claimed> {
        self.is_sent = true;
        let (claim, _) = self.claim.as_mut().expect("not polled again after it was ready");
        let claimed = std::task::ready!(claim.as_mut().poll(cx));
        self.claim = None;
        Poll::Ready(claimed)
    }
}

impl Drop for Claiming {
    fn drop(&mut self) {
        let Some((claim, refunded)) = self.claim.take().filter(|_| self.is_sent) else { return };
        self.shared.client.shared().runtime().spawn(async move {
            if let Claimed::Granted { promise: Some(promise), .. } = claim.await {
                promise.refund(refunded);
            }
        });
    }
}

/// Tokens of a bucket in Redis.
pub(super) struct RedisPromise {
    pub(super) shared: Arc<Shared>,
    pub(super) bucket: Bucket,
    pub(super) tokens: u32,
    /// The ID of the promise in Redis.
    pub(super) id: String,
    /// Changes of the settings since the claim was sent.
    pub(super) changes: watch::Receiver<()>,
}

impl Promise for RedisPromise {
    fn moved(&mut self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(async move {
            // The sender belongs to the limiter, which this promise keeps alive.
            while self.changes.changed().await.is_ok() {
                // If there is no answer, the reconnect counts as the next change.
                if let Ok(delay) = self.shared.delay(&self.bucket, &self.id).await {
                    return delay;
                }
            }
            std::future::pending().await
        })
    }

    fn refund(self: Box<Self>, then: Refunded) {
        let shared = Arc::clone(&self.shared);
        shared.client.shared().runtime().spawn(async move {
            let returned = self.shared.refund(&self.bucket, self.tokens, &self.id).await;
            // Forgets the key even without an answer: Redis may have the tokens.
            self.shared.denied.remove(&self.bucket.key);
            if let Ok(tokens) = returned {
                then(tokens);
            }
        });
    }
}

impl fmt::Debug for RedisPromise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPromise").field("tokens", &self.tokens).field("id", &self.id).finish_non_exhaustive()
    }
}
