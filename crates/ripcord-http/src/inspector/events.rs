//! The live stream: a snapshot at each interval, as server-sent events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use ripcord::{Draining, Sleep};

use super::Shared;

/// Maximum number of streams at a time. Further requests get 503.
const MAX_STREAMS: usize = 32;
/// Maximum age of a stream, unless [`MAX_AGE_INTERVALS`] intervals are longer. The browser then reconnects. Every stream has a time
/// limit, because the server cannot detect a peer that reads nothing: the system buffers the events.
const MAX_AGE: Duration = Duration::from_secs(60);
const MAX_AGE_INTERVALS: u32 = 4;
/// Tells the browser to reconnect after this many milliseconds.
const RETRY: &[u8] = b"retry: 250\n";
/// The last event of a stream when the server drains.
const DRAINING: &[u8] = b"event: draining\ndata: {}\n\n";
/// Number of intervals without a change after which a comment is sent, so that a disconnect is detected.
const MAX_QUIET_INTERVALS: u32 = 20;

/// The last rendered snapshot. All streams that are due at the same time get the same snapshot.
#[derive(Default)]
pub(super) struct Latest(Option<(Instant, Rendered)>);

#[derive(Clone)]
struct Rendered {
    event: Bytes,
    /// If two snapshots have equal fingerprints and are idle, nothing has changed.
    fingerprint: u64,
    is_idle: bool,
}

#[cfg(test)]
impl Latest {
    pub(super) fn when(&self) -> Option<Instant> {
        Some(self.0.as_ref()?.0)
    }
}

/// The body of a stream. It ends with the event `draining` when the drain begins. It also ends with the inspector's context, after
/// [`MAX_AGE`], or when the peer disconnects.
pub(super) struct EventStream {
    shared: Arc<Shared>,
    permit: Permit,
    sleep: Option<Pin<Box<Sleep>>>,
    /// `None` once the drain was announced.
    draining: Option<Draining>,
    last: Option<u64>,
    quiet: u32,
}

impl EventStream {
    /// Returns `None` if there are too many streams.
    pub(super) fn new(shared: Arc<Shared>) -> Option<Self> {
        let permit = Permit::new(&shared)?;
        let draining = Some(shared.ctx.draining());
        Some(EventStream { shared, permit, sleep: None, draining, last: None, quiet: 0 })
    }

    /// Returns the data to send now, if there is any.
    fn event(&mut self) -> Option<Bytes> {
        let rendered = render(&self.shared);
        if rendered.is_idle && self.last == Some(rendered.fingerprint) {
            self.quiet += 1;
            let is_due = self.quiet.is_multiple_of(MAX_QUIET_INTERVALS);
            return is_due.then(|| Bytes::from_static(b": nothing new\n\n"));
        }
        self.quiet = 0;
        match self.last.replace(rendered.fingerprint) {
            None => Some([RETRY, &rendered.event[..]].concat().into()),
            Some(_) => Some(rendered.event),
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            let Some(draining) = &mut this.draining else { return Poll::Ready(None) };
            if Pin::new(draining).poll(cx).is_ready() {
                this.draining = None;
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(DRAINING)))));
            }
            // The first event is due at once.
            let slept = match &mut this.sleep {
                Some(sleep) => task::ready!(sleep.as_mut().poll(cx)),
                None => this.shared.ctx.check(),
            };
            if slept.is_err() || !this.permit.is_held(&this.shared) {
                return Poll::Ready(None);
            }
            // The interval starts when the last event was taken, so a slow reader gets fewer events.
            this.sleep = Some(Box::pin(this.shared.ctx.sleep(this.shared.interval)));
            if let Some(event) = this.event() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
        }
    }
}

/// Returns the latest snapshot as an event. JSON has no line breaks, so it is one line of data.
fn render(shared: &Shared) -> Rendered {
    let now = shared.ctx.clock().now();
    if let Some((when, rendered)) = &shared.latest.lock().0
        && now.saturating_duration_since(*when) < shared.interval / 2
    {
        return rendered.clone();
    }
    // Rendered outside the lock, because this runs users' formatting code. Two streams may render at the same time.
    let snapshot = shared.snapshot(false);
    let mut event = b"data: ".to_vec();
    serde_json::to_writer(&mut event, &snapshot).expect("a snapshot is JSON");
    event.extend_from_slice(b"\n\n");
    let rendered = Rendered { event: event.into(), fingerprint: snapshot.fingerprint(), is_idle: snapshot.is_idle() };
    shared.latest.lock().0 = Some((now, rendered.clone()));
    rendered
}

/// The open streams and their start times.
#[derive(Default)]
pub(super) struct Watchers(Mutex<Streams>);

#[derive(Default)]
struct Streams {
    next: u64,
    started: HashMap<u64, Instant>,
}

/// The permit of one stream. There are [`MAX_STREAMS`] permits.
struct Permit {
    all: Arc<Watchers>,
    number: u64,
}

impl Permit {
    /// Takes a free permit, or revokes the permit of a stream that is too old. The peer of such a stream reads nothing, so the
    /// stream is not polled.
    fn new(shared: &Shared) -> Option<Self> {
        let now = shared.ctx.clock().now();
        let mut streams = shared.watchers.lock();
        if streams.started.len() >= MAX_STREAMS {
            let (&number, &started) = streams.started.iter().min_by_key(|(_, started)| **started)?;
            if now.saturating_duration_since(started) < max_age(shared) {
                return None;
            }
            streams.started.remove(&number);
        }
        let number = streams.next;
        streams.next += 1;
        streams.started.insert(number, now);
        drop(streams);
        Some(Permit { all: Arc::clone(&shared.watchers), number })
    }

    /// Returns whether the stream may continue: the stream is not too old, and its permit was not revoked.
    fn is_held(&self, shared: &Shared) -> bool {
        let now = shared.ctx.clock().now();
        let started = self.all.lock().started.get(&self.number).copied();
        started.is_some_and(|started| now.saturating_duration_since(started) < max_age(shared))
    }
}

fn max_age(shared: &Shared) -> Duration {
    MAX_AGE.max(shared.interval.saturating_mul(MAX_AGE_INTERVALS))
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.lock().started.remove(&self.number);
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
