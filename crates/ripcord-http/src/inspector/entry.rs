//! One piece of work: a request, or what a program puts under the inspector itself.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use ripcord::{CancelHandle, Clock, Context, Error, Trace, TraceGuard, Value};

use super::registry::Shard;
use crate::RequestId;
use crate::server::DeadlineSource;
use crate::trace_context::Traceparent;

/// What is known of a request at its start.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The method and the route as it was written, never the path as it came.
    pub(crate) name: Cow<'static, str>,
    pub(crate) request_id: RequestId,
    pub(crate) deadline: DeadlineSource,
    pub(crate) traceparent: Traceparent,
}

/// What kind of work it is.
pub(super) enum Kind {
    Request { request_id: RequestId, deadline: DeadlineSource, traceparent: Traceparent },
    Watched,
}

/// What is known of it: in the registry while it lives, and for a while afterwards among what is over.
pub(super) struct Entry {
    pub(super) id: u64,
    /// The nearest entry above.
    pub(super) parent: Option<u64>,
    pub(super) kind: Kind,
    pub(super) trace: Trace,
    /// 0 as long as it is not answered.
    status: AtomicU16,
    /// Whether the server has caught a panic of the handler's, which the trace does not see.
    has_panicked: AtomicBool,
    /// Whether the server's hold is what is being given up.
    is_server_leaving: AtomicBool,
    alive: Mutex<Option<Alive>>,
    end: OnceLock<End>,
}

/// The trace that its calls are recorded in.
pub(super) enum OwnTrace {
    /// Ended by the entry.
    Held(TraceGuard),
    /// Ended by somebody else.
    Seen(Trace),
}

/// What it holds only while it lives, so that nothing outlives its request for being looked at.
#[derive(Clone)]
pub(super) struct Life {
    /// The context above its [`Held`] (invariant 2 of the registry).
    pub(super) ctx: Context,
    pub(super) cancel: CancelHandle,
}

struct Alive {
    life: Life,
    /// `None` when it was answered, and of one that somebody else ends. Its context is that of the life.
    trace: Option<TraceGuard>,
}

/// How it ended, when its last context has been dropped.
pub(super) struct End {
    /// Until it was answered or given up.
    pub(super) latency: Duration,
    /// Why its context was done by then.
    pub(super) error: Option<Error>,
    pub(super) is_panicked: bool,
    /// The time that it had.
    pub(super) timeout: Option<Duration>,
    /// When the last context was dropped, on its clock.
    pub(super) dropped: Instant,
    pub(super) clock: Clock,
}

impl Entry {
    pub(super) fn new(
        id: u64,
        parent: Option<u64>,
        kind: Kind,
        ctx: Context,
        cancel: CancelHandle,
        trace: OwnTrace,
    ) -> Self {
        let (trace, guard) = match trace {
            OwnTrace::Held(guard) => (guard.trace().clone(), Some(guard)),
            OwnTrace::Seen(trace) => (trace, None),
        };
        let alive = Mutex::new(Some(Alive { life: Life { ctx, cancel }, trace: guard }));
        Entry {
            id,
            parent,
            kind,
            trace,
            status: AtomicU16::new(0),
            has_panicked: AtomicBool::new(false),
            is_server_leaving: AtomicBool::new(false),
            alive,
            end: OnceLock::new(),
        }
    }

    // Relaxed in what follows: each number is all there is to see.

    pub(super) fn status(&self) -> Option<u16> {
        Some(self.status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    pub(super) fn has_panicked(&self) -> bool {
        self.has_panicked.load(Ordering::Relaxed)
    }

    /// `None` when it is over.
    pub(super) fn life(&self) -> Option<Life> {
        self.lock().as_ref().map(|alive| alive.life.clone())
    }

    /// `None` while it lives.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.get()
    }

    /// It was answered, or given up. Before that its trace must not be over, and after it not go on.
    fn end_trace(&self) {
        let trace = self.lock().as_mut().and_then(|alive| alive.trace.take());
        // Not under the lock: a subscriber may be told of the end.
        drop(trace);
    }

    /// Its last context is being dropped: called once, by its [`Held`].
    fn finish(&self) -> &End {
        self.end_trace();
        let alive = self.lock().take();
        self.end.get_or_init(|| {
            let span = self.trace.span();
            let ctx = alive.map_or(Context::background(), |alive| alive.life.ctx);
            let clock = ctx.clock();
            // When the server's was the last hold, it was over with its trace.
            let is_now = self.is_server_leaving.load(Ordering::Relaxed) && span.is_ended();
            let dropped = if is_now { span.start() + span.duration() } else { clock.now() };
            End {
                latency: span.duration(),
                error: span.err().cloned(),
                is_panicked: span.is_panicked() || self.has_panicked(),
                timeout: ctx.deadline().map(|deadline| deadline.saturating_duration_since(span.start())),
                dropped,
                clock,
            }
        })
    }

    /// Whether it ended otherwise than with an answer of its own.
    pub(super) fn is_cut_short(&self) -> bool {
        let is_failed = self.status().is_some_and(|status| status >= 500);
        is_failed || self.end().is_some_and(|end| end.error.is_some() || end.is_panicked)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Alive>> {
        // Nothing under it panics.
        self.alive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server's hold on a request that the inspector shows.
#[must_use = "the request's trace ends when this is dropped"]
pub(crate) struct Tracked {
    entry: Arc<Entry>,
    held: Option<Context>,
}

impl Tracked {
    pub(super) fn new(entry: Arc<Entry>, held: Context) -> Self {
        Tracked { entry, held: Some(held) }
    }

    /// The request is over. To be called before its Context is canceled for that: it would be taken for why it ended.
    pub(crate) fn end(&self) {
        self.entry.end_trace();
    }

    /// The handler or the body has panicked.
    pub(crate) fn panicked(&self) {
        self.entry.has_panicked.store(true, Ordering::Relaxed);
    }

    /// Notes what it was answered with.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.entry.status.store(status.as_u16(), Ordering::Relaxed);
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.end();
        self.entry.is_server_leaving.store(true, Ordering::Relaxed);
        self.held = None;
        self.entry.is_server_leaving.store(false, Ordering::Relaxed);
    }
}

impl fmt::Debug for Tracked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracked").field("id", &self.entry.id).finish_non_exhaustive()
    }
}

/// Lies in the Context that is given out, and is dropped with the last one derived from it: so long does an entry live.
pub(super) struct Held {
    entry: Arc<Entry>,
    key: usize,
    shard: Arc<Shard>,
}

impl Held {
    /// Puts an entry into the shard, for as long as this lives.
    pub(super) fn new(entry: Arc<Entry>, shard: Arc<Shard>) -> Self {
        let key = shard.insert(Arc::clone(&entry));
        Held { entry, key, shard }
    }

    pub(super) fn id(&self) -> u64 {
        self.entry.id
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let latency = self.entry.finish().latency;
        self.shard.remove(self.key, latency);
    }
}

impl Value for Held {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Inspected({})", self.entry.id)
    }
}
