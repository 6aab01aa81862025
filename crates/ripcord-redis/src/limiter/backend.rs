//! The limiter as the backend of the limiters of ripcord-policy.

use std::sync::Arc;
use std::time::Duration;

use ripcord_policy::limiter::backend::{Backend, BoxFuture, BucketId, Claimed, Refunded};
use ripcord_policy::{ConfigError, Quota, Rate};

use super::promise::Claiming;
use super::shared::Bucket;
use super::{Limiter, OnOutage, scripts};
use crate::client::Request;

impl Backend for Limiter {
    fn claim<'a>(
        &'a self,
        bucket: BucketId<'a>,
        tokens: u32,
        longest_wait: Option<Duration>,
        refunded: Refunded,
    ) -> BoxFuture<'a, Claimed> {
        let claim = Arc::clone(&self.shared).claim(bucket.into(), tokens, longest_wait);
        Box::pin(Claiming::new(Arc::clone(&self.shared), Box::pin(claim), refunded))
    }

    fn set_rate(&self, rate: Rate) -> BoxFuture<'_, Result<(), ConfigError>> {
        let (tokens, period) = scripts::write_rate(rate);
        let values = [("tokens", tokens.to_string()), ("period", period.to_string())];
        Box::pin(async move {
            let stored = self.shared.set(&values).await;
            stored.map_err(|error| ConfigError::new("rate", "stored in Redis", format!("{rate}: {error}")))
        })
    }

    fn set_burst(&self, burst: u32) -> BoxFuture<'_, Result<(), ConfigError>> {
        let values = [("burst", burst.to_string())];
        Box::pin(async move {
            let stored = self.shared.set(&values).await;
            stored.map_err(|error| ConfigError::new("burst", "stored in Redis", format!("{burst}: {error}")))
        })
    }

    fn quota<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, Quota> {
        let bucket = Bucket::from(bucket);
        Box::pin(async move {
            if !bucket.has_own_quota {
                // During an outage, this process returns the last quota that it knows.
                let _unavailable = self.shared.read_settings().await;
            }
            self.shared.known_quota(&bucket)
        })
    }

    fn tokens<'a>(&'a self, bucket: BucketId<'a>) -> BoxFuture<'a, f64> {
        let bucket = Bucket::from(bucket);
        Box::pin(async move {
            let tokens = self.shared.script(&scripts::TOKENS, &bucket);
            if let Ok(tokens) = self.shared.send("tokens", Request::Script(&tokens)).await {
                return tokens;
            }
            let quota = self.shared.known_quota(&bucket);
            match self.shared.on_outage {
                OnOutage::Open => f64::from(quota.burst()),
                OnOutage::Closed => 0.0,
                OnOutage::Local => self.shared.local.tokens(&bucket.key, quota, self.shared.client.shared().peers()),
            }
        })
    }
}
