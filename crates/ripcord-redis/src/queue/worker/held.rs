//! The jobs that a worker holds.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ripcord::{CancelHandle, Context};
use tokio::sync::Notify;

use super::super::{Inner, JobId};
use crate::client::Subscriber;
use crate::hub::RemoteCancel;
use crate::hub::marker::Marker;

/// The [cause](ripcord::Error::cause) of the end of a job's context, if the worker has lost the lease of the job. Another worker
/// may run the job at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseLost {
    /// The worker could not extend the lease within its duration, because the worker was paused or Redis was unavailable. The value
    /// is the [duration of the lease](crate::QueueBuilder::lease).
    Expired(Duration),
    /// Another worker has taken the job over.
    TakenOver,
}

impl fmt::Display for LeaseLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseLost::Expired(lease) => {
                write!(f, "the lease of the job is lost: it was not extended within {lease:?}")
            }
            LeaseLost::TakenOver => f.write_str("the lease of the job is lost: another worker has taken the job over"),
        }
    }
}

impl std::error::Error for LeaseLost {}

/// Why the worker ended the context of a job.
#[derive(Clone, Debug)]
pub(super) enum EndedBy {
    Canceled(RemoteCancel),
    Lost(LeaseLost),
}

/// A job that the worker has read, or runs, or whose end it has not yet reported.
struct Held {
    /// The version of the run, or 0 if the job has not started yet.
    version: u64,
    /// When the local lease ends.
    valid_until: Instant,
    canceler: Option<CancelHandle>,
    ended: Option<EndedBy>,
}

/// The table of held jobs of one worker, and the facts that all its tasks need.
pub(super) struct Holder {
    pub(super) queue: Arc<Inner>,
    /// The worker's context.
    pub(super) ctx: Context,
    /// The context of the commands. It outlives the worker's context, and has the system's clock.
    pub(super) commands: Context,
    pub(super) location: &'static Location<'static>,
    /// The name of the worker in the group. No other worker has it, now or later.
    pub(super) name: String,
    held: Mutex<HashMap<JobId, Held>>,
    /// Wakes the task that extends leases.
    pub(super) extend_now: Notify,
    /// Wakes the task that watches leases.
    pub(super) lease_started: Notify,
    /// Wakes the task that moves delayed jobs.
    pub(super) job_delayed: Notify,
    is_closed: AtomicBool,
}

impl Holder {
    pub(super) fn new(queue: Arc<Inner>, ctx: Context, location: &'static Location<'static>) -> Self {
        let name = format!("{}-{}", queue.client.name(), JobId::random());
        Holder {
            queue,
            commands: Context::background(),
            ctx,
            location,
            name,
            held: Mutex::default(),
            extend_now: Notify::new(),
            lease_started: Notify::new(),
            job_delayed: Notify::new(),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Adds a job that the worker has read. Returns `false` if the worker holds it already.
    pub(super) fn add(&self, id: JobId) -> bool {
        let mut held = self.lock();
        if held.contains_key(&id) {
            return false;
        }
        held.insert(id, Held { version: 0, valid_until: Instant::now(), canceler: None, ended: None });
        true
    }

    /// Records that Redis has started a job. Returns the reason if the job was canceled meanwhile.
    pub(super) fn start(
        &self,
        id: JobId,
        version: u64,
        valid_until: Instant,
        canceler: CancelHandle,
    ) -> Option<EndedBy> {
        let mut held = self.lock();
        let job = held.get_mut(&id)?;
        (job.version, job.valid_until, job.canceler) = (version, valid_until, Some(canceler));
        job.ended.clone()
    }

    /// Waits for `time`, or until the worker's context ends.
    pub(super) async fn pause(&self, time: Duration) {
        let _ended = self.ctx.run(self.commands.sleep(time)).await;
    }

    /// Removes a job.
    pub(super) fn remove(&self, id: JobId) {
        let removed = self.lock().remove(&id);
        drop(removed);
    }

    pub(super) fn holds(&self, id: JobId) -> bool {
        self.lock().contains_key(&id)
    }

    pub(super) fn ended(&self, id: JobId) -> Option<EndedBy> {
        self.lock().get(&id)?.ended.clone()
    }

    /// Returns the started jobs, with the versions of their runs.
    pub(super) fn started(&self) -> Vec<(JobId, u64)> {
        self.lock().iter().filter(|(_, job)| job.version > 0).map(|(id, job)| (*id, job.version)).collect()
    }

    /// Moves the end of a lease.
    pub(super) fn extended(&self, id: JobId, version: u64, valid_until: Instant) {
        if let Some(job) = self.lock().get_mut(&id).filter(|job| job.version == version) {
            job.valid_until = valid_until;
        }
    }

    /// Returns the jobs whose leases are over, and the end of the next lease.
    pub(super) fn expired(&self, now: Instant) -> (Vec<JobId>, Option<Instant>) {
        let held = self.lock();
        let running = held.iter().filter(|(_, job)| job.version > 0 && job.ended.is_none());
        let (mut expired, mut next) = (Vec::new(), None::<Instant>);
        for (id, job) in running {
            if job.valid_until <= now {
                expired.push(*id);
            } else {
                next = Some(next.map_or(job.valid_until, |next| next.min(job.valid_until)));
            }
        }
        (expired, next)
    }

    /// Ends the context of a job. The first reason wins.
    pub(super) fn end(&self, id: JobId, by: EndedBy) {
        let canceler = {
            let mut held = self.lock();
            let Some(job) = held.get_mut(&id).filter(|job| job.ended.is_none()) else { return };
            job.ended = Some(by.clone());
            job.canceler.clone()
        };
        if let Some(canceler) = canceler {
            self.cancel(&canceler, by);
        }
    }

    /// Ends the context of the job that the marker of a cancel is about.
    pub(super) fn canceled(&self, marker: &[u8]) {
        let Some(marker) = Marker::from_json(marker) else { return };
        let id = marker.id().strip_prefix(&self.queue.base).and_then(|rest| rest.strip_prefix(":job:")?.parse().ok());
        if let Some(id) = id {
            self.end(id, EndedBy::Canceled(RemoteCancel::new(marker)));
        }
    }

    pub(super) fn cancel(&self, canceler: &CancelHandle, by: EndedBy) {
        match by {
            EndedBy::Canceled(cancel) => canceler.cancel_at(cancel, self.location),
            EndedBy::Lost(lost) => canceler.cancel_at(lost, self.location),
        }
    }

    /// Ends the tasks that run until all jobs are over.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.extend_now.notify_one();
        self.lease_started.notify_one();
        self.job_delayed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Holder {
    fn connected(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Extending the leases also reads the cancels that were missed.
        self.extend_now.notify_one();
        Box::pin(async {})
    }

    fn message(&self, message: &[u8]) {
        self.canceled(message);
    }
}
