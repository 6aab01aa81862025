//! The leases of running jobs. (Invariant 4 of the [queue](super::super).)

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;

use super::super::{BATCH, scripts};
use super::held::{EndedBy, Holder, LeaseLost};
use crate::error::Error;

/// Extends the leases every third of the lease, and sooner after a failure.
pub(super) async fn extend(holder: Arc<Holder>) {
    let lease = holder.queue.lease;
    let mut pause = lease / 3;
    loop {
        let _timed_out = tokio::time::timeout(pause, holder.extend_now.notified()).await;
        if holder.is_closed() {
            return;
        }
        pause = match extend_all(&holder).await {
            Ok(()) => lease / 3,
            Err(_) => (lease / 10).min(Duration::from_millis(200)),
        };
    }
}

async fn extend_all(holder: &Holder) -> Result<(), Error> {
    for batch in holder.started().chunks(BATCH) {
        let mut script = holder.queue.prepare(&scripts::EXTEND);
        script.arg(&holder.name);
        for (id, version) in batch {
            script.arg(id.to_string()).arg(*version);
        }
        let valid_until = Instant::now() + holder.queue.lease;
        let answers: Vec<Value> = holder.queue.invoke(&holder.commands, holder.location, "extend", &script).await?;
        for ((id, version), answer) in batch.iter().zip(answers) {
            match answer {
                Value::Int(0) => holder.end(*id, EndedBy::Lost(LeaseLost::TakenOver)),
                Value::BulkString(cancel) => {
                    holder.extended(*id, *version, valid_until);
                    holder.canceled(&cancel);
                }
                _ => holder.extended(*id, *version, valid_until),
            }
        }
    }
    Ok(())
}

/// Ends the contexts of jobs whose leases are over.
pub(super) async fn watch(holder: Arc<Holder>) {
    while !holder.is_closed() {
        let (expired, next) = holder.expired(Instant::now());
        for id in expired {
            holder.end(id, EndedBy::Lost(LeaseLost::Expired(holder.queue.lease)));
        }
        let changed = holder.lease_started.notified();
        match next {
            Some(next) => drop(tokio::time::timeout_at(next.into(), changed).await),
            None => changed.await,
        }
    }
}
