//! Reads the markers of bound IDs in the background, many in one command.

use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ripcord::Context;
use tokio::sync::Notify;

use super::inner::Inner;
use crate::client::Request;
use crate::error::Error;

/// Maximum number of markers read by one command.
const BATCH: usize = 256;

#[derive(Default)]
pub(super) struct Wakers {
    /// An ID was bound, or all markers must be read again.
    pub(super) work: Notify,
    /// The server is available again.
    pub(super) connected: Notify,
}

/// Reads until the hub is dropped.
pub(super) async fn run(hub: Weak<Inner>, wakers: Arc<Wakers>) {
    loop {
        wakers.work.notified().await;
        loop {
            let pause = {
                let Some(hub) = hub.upgrade() else { return };
                let ids = hub.registry.begin_reading();
                if ids.is_empty() {
                    break;
                }
                hub.read_markers(&ids).await
            };
            if let Err(pause) = pause {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = wakers.connected.notified() => {}
                }
            }
        }
    }
}

impl Inner {
    /// Reads the markers of these IDs. Fails with the time until the next attempt.
    async fn read_markers(&self, ids: &[Arc<str>]) -> Result<(), Duration> {
        let mut rest = ids;
        while !rest.is_empty() {
            let (batch, next) = rest.split_at(rest.len().min(BATCH));
            if let Err(error) = self.read_batch(batch).await {
                self.registry.finish_reading(rest);
                return Err(error.retry_after().unwrap_or_default().max(MIN_PAUSE));
            }
            rest = next;
        }
        self.registry.finish_reading(&[]);
        Ok(())
    }

    async fn read_batch(&self, batch: &[Arc<str>]) -> Result<(), Error> {
        let batch = self.registry.retain_bound(batch);
        if batch.is_empty() {
            return Ok(());
        }
        let shared = self.client.shared();
        let mut command = redis::cmd("MGET");
        batch.iter().for_each(|id| {
            command.arg(shared.key(&["cancel", id]));
        });
        // The client's timeout limits the command.
        let (ctx, request) = (Context::background(), Request::Command(&command));
        let markers: Vec<Option<Vec<u8>>> = shared.send(&ctx, Location::caller(), "read", request).await?;
        markers.iter().flatten().for_each(|marker| self.end(marker));
        Ok(())
    }
}

/// Shortest time between two attempts.
const MIN_PAUSE: Duration = Duration::from_millis(10);
