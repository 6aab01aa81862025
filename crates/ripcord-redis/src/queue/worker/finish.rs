//! Tells Redis how jobs ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::{BATCH, JobId, milliseconds_up, scripts};
use super::held::Holder;
use super::upkeep;
use crate::error::Error;

/// The end of a run.
pub(super) struct Finished {
    pub(super) id: JobId,
    pub(super) version: u64,
    pub(super) how: How,
}

/// How a run ended. See `scripts/finish.lua`.
pub(super) enum How {
    Done,
    Retry {
        delay: Duration,
        error: String,
    },
    /// The reason, a colon and the error.
    Dead(String),
    Canceled,
    Release,
    Lost,
}

/// Maximum length of an error in Redis, in bytes.
const MAX_ERROR: usize = 4096;

/// Reports the ends of runs, many at a time, until the last job is over. Then ends the worker's other tasks on the client's thread,
/// because the future of the worker may have been dropped.
pub(super) async fn run(holder: Arc<Holder>, mut finished: mpsc::Receiver<Finished>) {
    let mut batch = Vec::new();
    while finished.recv_many(&mut batch, BATCH).await > 0 {
        report(&holder, &batch).await;
        if batch.iter().any(|run| matches!(run.how, How::Retry { .. })) {
            holder.job_delayed.notify_one();
        }
        for run in batch.drain(..) {
            holder.remove(run.id);
        }
    }
    // The tasks of these jobs were dropped together with their runtime. Another worker runs the jobs.
    let dropped = holder.started();
    for jobs in dropped.chunks(BATCH) {
        let released: Vec<_> =
            jobs.iter().map(|(id, version)| Finished { id: *id, version: *version, how: How::Release }).collect();
        report(&holder, &released).await;
    }
    holder.close();
    upkeep::leave(&holder).await;
}

/// Reports a batch. While Redis is unavailable, repeats this until the worker's context has ended. If the report is lost, the
/// leases end, and other workers run the jobs again.
async fn report(holder: &Holder, batch: &[Finished]) {
    let mut script = holder.queue.prepare(&scripts::FINISH);
    for run in batch {
        let (kind, number, text) = match &run.how {
            How::Done => ("done", 0, ""),
            How::Retry { delay, error } => ("retry", milliseconds_up(*delay), cut(error)),
            How::Dead(reason) => ("dead", 0, cut(reason)),
            How::Canceled => ("canceled", 0, ""),
            How::Release => ("release", 0, ""),
            How::Lost => ("lost", 0, ""),
        };
        script.arg(run.id.to_string()).arg(run.version).arg(kind).arg(number).arg(text);
    }
    loop {
        let is_last = holder.ctx.is_done();
        let Err(error) = holder.queue.invoke::<i64>(&holder.commands, holder.location, "finish", &script).await else {
            return;
        };
        if is_last {
            return;
        }
        holder.pause(pause_after(&error)).await;
    }
}

/// Returns the time to wait before a command is sent again.
pub(super) fn pause_after(error: &Error) -> Duration {
    let pause = error.retry_after().unwrap_or(Duration::from_millis(100));
    pause.clamp(Duration::from_millis(10), Duration::from_secs(1))
}

/// Cuts a text at the maximum length.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_ERROR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
