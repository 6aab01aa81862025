//! The settings of a hub.

use std::panic::Location;
use std::time::Duration;

use ripcord_policy::ConfigError;

use super::Hub;
use crate::Client;
use crate::error::{Error, Kind};

pub(super) const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// Builds a [`Hub`]. Create the builder with [`Hub::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct HubBuilder {
    client: Client,
    ttl: Duration,
}

impl HubBuilder {
    pub(super) fn new(client: Client) -> Self {
        HubBuilder { client, ttl: DEFAULT_TTL }
    }

    /// Sets the time for which Redis keeps a cancel, measured by the server's clock. The time must be longer than zero. Default: 1
    /// hour.
    ///
    /// After this time, the cancel ends no more contexts: neither a context that is bound later, nor a context on a machine that
    /// had no connection to Redis for the whole time.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Builds the hub. Does not wait for Redis.
    ///
    /// # Errors
    ///
    /// [`Error::config_error`] if the `ttl` is zero.
    #[track_caller]
    pub fn build(self) -> Result<Hub, Error> {
        if self.ttl.is_zero() {
            let error = ConfigError::new("ttl", "above zero", "0ns");
            return Err(Error::new("build", Location::caller(), Kind::Config(error)));
        }
        Ok(Hub::start(&self.client, self.ttl))
    }
}
