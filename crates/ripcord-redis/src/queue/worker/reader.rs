//! Reads jobs from the stream and starts them. (Invariants 1 to 3 of the [worker](super).)

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};
use redis::{Cmd, FromRedisValue, RedisError, Value, cmd};
use ripcord::Context;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::{BATCH, GROUP, JobId, milliseconds_up, scripts, unexpected};
use super::finish::pause_after;
use super::job::{Jobs, Started};
use crate::client::Connection;
use crate::error::Error;

/// The time for which one read waits for jobs. The worker notices a drain after at most this time.
const BLOCK: Duration = Duration::from_millis(100);

pub(super) struct Reader<J, E, H> {
    jobs: Jobs<J, E, H>,
    slots: Arc<Semaphore>,
    concurrency: usize,
    /// A separate connection, because a read blocks it.
    connection: Option<Connection>,
    /// Whether Redis may have delivered entries that the worker does not hold.
    is_recovering: bool,
    /// The time of the next search for jobs of dead workers, and the entry at which the last search stopped.
    claim_at: Instant,
    claim_from: String,
}

/// An entry of the stream.
type Entry = (String, JobId);

impl<J, E, H, Fut> Reader<J, E, H>
where
    J: DeserializeOwned + Send + 'static,
    E: fmt::Display + Send + 'static,
    H: Fn(Context, J) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
{
    pub(super) fn new(jobs: Jobs<J, E, H>, slots: Arc<Semaphore>, concurrency: usize) -> Self {
        Reader {
            jobs,
            slots,
            concurrency,
            connection: None,
            is_recovering: false,
            claim_at: Instant::now(),
            claim_from: "0-0".to_owned(),
        }
    }

    /// Reads and starts jobs until the worker's context ends or drains.
    pub(super) async fn run(mut self) {
        while let Some(permits) = self.free_slots().await {
            let entries = match self.read(permits.len()).await {
                Ok(entries) => entries,
                Err(Failed::Connection) => {
                    self.connection = None;
                    self.is_recovering = true;
                    self.jobs.holder.pause(Duration::from_millis(20)).await;
                    continue;
                }
                Err(Failed::NoGroup) => {
                    // The queue was deleted.
                    let holder = &self.jobs.holder;
                    let _repeated = super::create_group(&holder.queue, &holder.commands, holder.location).await;
                    self.jobs.holder.pause(Duration::from_millis(20)).await;
                    continue;
                }
            };
            // The worker may hold an entry whose lease it has lost and that it has read again.
            let new: Vec<Entry> = entries.into_iter().filter(|(_, id)| self.jobs.holder.add(*id)).collect();
            if !new.is_empty() {
                self.start(new, permits).await;
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.jobs.ctx.is_done() || self.jobs.ctx.is_draining()
    }

    /// Waits for a free slot, and takes all that are free. Returns `None` if the worker stops.
    async fn free_slots(&self) -> Option<Vec<OwnedSemaphorePermit>> {
        let ctx = &self.jobs.ctx;
        let first = tokio::select! {
            biased;
            _ended = ctx.done() => return None,
            () = ctx.draining() => return None,
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok()?,
        };
        let mut permits = vec![first];
        while permits.len() < BATCH {
            match Arc::clone(&self.slots).try_acquire_owned() {
                Ok(permit) => permits.push(permit),
                Err(_) => break,
            }
        }
        Some(permits)
    }

    /// Reads at most `limit` entries.
    async fn read(&mut self, limit: usize) -> Result<Vec<Entry>, Failed> {
        if self.connection.is_none() {
            let holder = &self.jobs.holder;
            let opened = holder.queue.shared().own_connection(&self.jobs.ctx, holder.location).await;
            self.connection = Some(opened.map_err(|_| Failed::Connection)?);
        }
        if self.is_recovering {
            let entries = self.read_own(limit).await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
            self.is_recovering = false;
        }
        if Instant::now() >= self.claim_at {
            let entries = self.claim(limit).await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        self.read_new(limit).await
    }

    /// Reads entries that no worker has read.
    async fn read_new(&mut self, limit: usize) -> Result<Vec<Entry>, Failed> {
        let mut read = self.xreadgroup(limit);
        read.arg("BLOCK").arg(milliseconds_up(BLOCK)).arg("STREAMS").arg(self.stream()).arg(">");
        let reply: Option<StreamReadReply> = self.send(&read).await?;
        Ok(entries(reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids)))
    }

    /// Reads entries that Redis has delivered to this worker, and that the worker does not hold: the answer was lost.
    async fn read_own(&mut self, limit: usize) -> Result<Vec<Entry>, Failed> {
        let mut read = self.xreadgroup(2 * (self.concurrency + BATCH));
        read.arg("STREAMS").arg(self.stream()).arg("0");
        let reply: Option<StreamReadReply> = self.send(&read).await?;
        let mut own = entries(reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids));
        own.retain(|(_, id)| !self.jobs.holder.holds(*id));
        own.truncate(limit);
        Ok(own)
    }

    /// Takes over entries whose workers have not extended their leases.
    async fn claim(&mut self, limit: usize) -> Result<Vec<Entry>, Failed> {
        let lease = self.jobs.holder.queue.lease;
        let mut claim = cmd("XAUTOCLAIM");
        claim.arg(self.stream()).arg(GROUP).arg(&self.jobs.holder.name).arg(milliseconds_up(lease));
        claim.arg(&self.claim_from).arg("COUNT").arg(limit);
        let reply: StreamAutoClaimReply = self.send(&claim).await?;
        // The rest of the entries comes with the next read.
        if reply.next_stream_id == "0-0" {
            self.claim_at = Instant::now() + (lease / 4).clamp(Duration::from_millis(50), Duration::from_secs(5));
        }
        self.claim_from = reply.next_stream_id;
        Ok(entries(reply.claimed))
    }

    fn xreadgroup(&self, limit: usize) -> Cmd {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(&self.jobs.holder.name).arg("COUNT").arg(limit);
        read
    }

    fn stream(&self) -> String {
        self.jobs.holder.queue.stream()
    }

    /// Sends a command and waits for its answer, even if the worker stops meanwhile. (Invariant 2.)
    async fn send<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Failed> {
        let Some(connection) = &mut self.connection else { return Err(Failed::Connection) };
        let holder = &self.jobs.holder;
        let limit = BLOCK + holder.queue.shared().timeout();
        // A connection to a machine that has crashed never answers.
        let limited = holder.commands.with_timeout_at(limit, holder.location);
        match limited.run(command.query_async::<T>(connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.code() == Some("NOGROUP") => Err(Failed::NoGroup),
            _ => Err(Failed::Connection),
        }
    }

    /// Starts jobs. There are at least as many permits.
    async fn start(&mut self, entries: Vec<Entry>, mut permits: Vec<OwnedSemaphorePermit>) {
        permits.truncate(entries.len());
        let started = loop {
            if self.is_stopping() {
                self.give_back(&entries).await;
                return;
            }
            match self.try_start(&entries).await {
                Ok(started) => break started,
                Err(error) => self.jobs.holder.pause(pause_after(&error)).await,
            }
        };
        // Redis does not start jobs that are over, canceled or too late.
        for (_, id) in &entries {
            if started.iter().all(|job| job.id != *id) {
                self.jobs.holder.remove(*id);
            }
        }
        for (job, permit) in started.into_iter().zip(permits) {
            self.jobs.start(job, permit);
        }
    }

    async fn try_start(&self, entries: &[Entry]) -> Result<Vec<Started>, Error> {
        let holder = &self.jobs.holder;
        let mut script = holder.queue.prepare(&scripts::START);
        script.arg(&holder.name).arg(holder.queue.max_deliveries);
        for (entry, id) in entries {
            script.arg(entry).arg(id.to_string());
        }
        let now = Instant::now();
        let rows: Vec<Value> = holder.queue.invoke(&holder.commands, holder.location, "start", &script).await?;
        let read = |row: Value| {
            started(&row, now, holder.queue.lease)
                .ok_or_else(|| unexpected("start", holder.location, &format!("{row:?}")))
        };
        rows.into_iter().map(read).collect()
    }

    /// Returns entries that have not started.
    async fn give_back(&self, entries: &[Entry]) {
        let holder = &self.jobs.holder;
        let mut script = holder.queue.prepare(&scripts::GIVE_BACK);
        script.arg(&holder.name);
        for (entry, id) in entries {
            script.arg(entry).arg(id.to_string());
        }
        // If this fails, another worker takes the jobs over after the lease.
        let _taken_over_later =
            holder.queue.invoke::<i64>(&holder.commands, holder.location, "give back", &script).await;
        for (_, id) in entries {
            holder.remove(*id);
        }
    }
}

/// Why a read failed.
enum Failed {
    Connection,
    NoGroup,
}

/// Returns the entries of jobs. An entry of another form is not from a queue.
fn entries(ids: impl IntoIterator<Item = StreamId>) -> Vec<Entry> {
    let read = |entry: StreamId| {
        let id: Option<String> = entry.get("id");
        Some((entry.id, id?.parse().ok()?))
    };
    ids.into_iter().filter_map(read).collect()
}

/// Reads a row of the script `start`, which was sent at `sent`.
fn started(row: &Value, sent: Instant, lease: Duration) -> Option<Started> {
    type Row = (String, u64, i64, u32, u64, u32, Option<Vec<u8>>, Option<String>);
    let read: Result<Row, RedisError> = redis::from_redis_value_ref(row).map_err(Into::into);
    let (id, version, left, attempts, last_delay, deliveries, json, trace) = read.ok()?;
    Some(Started {
        id: id.parse().ok()?,
        version,
        left: u64::try_from(left).ok().map(Duration::from_millis),
        sent,
        valid_until: sent + lease,
        attempts,
        last_delay: Duration::from_millis(last_delay),
        deliveries,
        json: json.unwrap_or_default(),
        trace: trace.unwrap_or_default(),
    })
}
