//! The builder of a queue.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use ripcord_policy::ConfigError;

use super::{Inner, Queue};
use crate::client::{Client, LONGEST};
use crate::error::{Error, Kind};

/// Builds a [`Queue`]. Create the builder with [`Queue::builder`].
#[must_use = "a builder does nothing until it is built"]
pub struct QueueBuilder<J> {
    name: String,
    client: Option<Client>,
    lease: Duration,
    max_deliveries: u32,
    keep_keys: Duration,
    job: PhantomData<fn(J) -> J>,
}

impl<J> QueueBuilder<J> {
    pub(super) fn new(name: String) -> Self {
        QueueBuilder {
            name,
            client: None,
            lease: Duration::from_secs(30),
            max_deliveries: 5,
            keep_keys: Duration::from_secs(86_400),
            job: PhantomData,
        }
    }

    /// Sets the client of the Redis that has the queue. Required.
    pub fn client(mut self, client: &Client) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// Sets the duration of a job's lease. A worker extends the leases of its running jobs at intervals of a third of this time. If
    /// a worker dies or loses its connection to Redis, another worker takes its jobs over after this time. All workers of a queue
    /// need the same setting. At least 100 ms. Default: 30 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how many workers must lose a job, one after another, before the job becomes a dead letter. A worker loses a job when
    /// its process dies, or when it is paused or cannot reach Redis for longer than the [`lease`](Self::lease). So a job that
    /// crashes its workers does not run forever. At least 1. Default: 5.
    pub fn max_deliveries(mut self, deliveries: u32) -> Self {
        self.max_deliveries = deliveries;
        self
    }

    /// Sets the time for which an [idempotency key](Queue::submit_with_key) is kept after the first job with the key was submitted.
    /// At least 1 ms. Default: 24 hours.
    pub fn keep_keys(mut self, time: Duration) -> Self {
        self.keep_keys = time;
        self
    }

    /// Builds the queue. Sends nothing to Redis.
    ///
    /// # Errors
    ///
    /// [`Error::config_error`] if there is no client, if the name is empty or contains a brace, or if a setting is below its
    /// minimum. The minimum of the lease is 100 ms, of `max_deliveries` 1, and of `keep_keys` 1 ms.
    #[track_caller]
    pub fn build(self) -> Result<Queue<J>, Error> {
        let location = Location::caller();
        let invalid = |field, bound, value: &dyn fmt::Display| {
            Error::new("build", location, Kind::Config(ConfigError::new(field, bound, value)))
        };
        let Some(client) = self.client else { return Err(invalid("client", "set", &"nothing")) };
        if self.name.is_empty() || self.name.contains(['{', '}']) {
            return Err(invalid("name", "a text without braces that is not empty", &format!("{:?}", self.name)));
        }
        if self.lease < Duration::from_millis(100) {
            return Err(invalid("lease", "at least 100ms", &format!("{:?}", self.lease)));
        }
        if self.max_deliveries == 0 {
            return Err(invalid("max_deliveries", "at least 1", &0));
        }
        if self.keep_keys < Duration::from_millis(1) {
            return Err(invalid("keep_keys", "at least 1ms", &format!("{:?}", self.keep_keys)));
        }
        let base = client.shared().key(&["queue", &format!("{{{}}}", self.name)]);
        let inner = Inner {
            client,
            name: self.name,
            base,
            lease: self.lease.min(LONGEST),
            max_deliveries: self.max_deliveries,
            keep_keys: self.keep_keys,
        };
        Ok(Queue { inner: Arc::new(inner), job: PhantomData })
    }
}

impl<J> fmt::Debug for QueueBuilder<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("name", &self.name)
            .field("client", &self.client)
            .field("lease", &self.lease)
            .field("max_deliveries", &self.max_deliveries)
            .field("keep_keys", &self.keep_keys)
            .finish()
    }
}
