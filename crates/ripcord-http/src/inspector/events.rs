//! The live stream: a snapshot at each interval, as server-sent events.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use ripcord::Sleep;

use super::Shared;

/// Maximum number of streams at a time. Further requests get 503.
const MAX_STREAMS: usize = 32;
/// A stream ends after this time, or after this many intervals if that is longer, and the browser reconnects at once. A peer that
/// reads nothing cannot be recognized, because the system buffers what it is sent; so its place is limited in time instead.
const MAX_AGE: Duration = Duration::from_secs(60);
const MAX_AGE_INTERVALS: u32 = 4;
/// Tells the browser to reconnect after this many milliseconds.
const RETRY: &[u8] = b"retry: 250\n";
/// After this many intervals without a change, a comment is sent, so that a disconnect is noticed.
const MAX_QUIET_INTERVALS: u32 = 20;

/// The last rendered snapshot. All streams that are due at the same time get the same one.
#[derive(Default)]
pub(super) struct Latest(Option<(Instant, Rendered)>);

#[derive(Clone)]
struct Rendered {
    event: Bytes,
    /// If two are equal and idle, nothing has changed.
    totals: (u64, u64),
    is_idle: bool,
}

#[cfg(test)]
impl Latest {
    pub(super) fn when(&self) -> Option<Instant> {
        Some(self.0.as_ref()?.0)
    }
}

/// The body of a stream. It ends with the inspector's context, after [`MAX_AGE`], or when the peer leaves.
pub(super) struct EventStream {
    shared: Arc<Shared>,
    place: Place,
    sleep: Option<Pin<Box<Sleep>>>,
    last: Option<(u64, u64)>,
    quiet: u32,
}

impl EventStream {
    /// Returns `None` if there are too many streams.
    pub(super) fn new(shared: Arc<Shared>) -> Option<Self> {
        let place = Place::new(&shared)?;
        Some(EventStream { shared, place, sleep: None, last: None, quiet: 0 })
    }

    /// Returns what to send now, if anything.
    fn event(&mut self) -> Option<Bytes> {
        let rendered = render(&self.shared);
        if rendered.is_idle && self.last == Some(rendered.totals) {
            self.quiet += 1;
            let is_due = self.quiet.is_multiple_of(MAX_QUIET_INTERVALS);
            return is_due.then(|| Bytes::from_static(b": nothing new\n\n"));
        }
        self.quiet = 0;
        match self.last.replace(rendered.totals) {
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
            // The first event is due at once.
            let slept = match &mut this.sleep {
                Some(sleep) => task::ready!(sleep.as_mut().poll(cx)),
                None => this.shared.ctx.check(),
            };
            if slept.is_err() || !this.place.is_held(&this.shared) {
                return Poll::Ready(None);
            }
            // The interval begins when the last event was taken, so a slow reader gets fewer events.
            this.sleep = Some(Box::pin(this.shared.ctx.sleep(this.shared.interval)));
            if let Some(event) = this.event() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
        }
    }
}

/// JSON has no line breaks, so a snapshot is one line of data.
fn render(shared: &Shared) -> Rendered {
    let now = shared.ctx.clock().now();
    if let Some((when, rendered)) = &shared.latest.lock().0
        && now.saturating_duration_since(*when) < shared.interval / 2
    {
        return rendered.clone();
    }
    // Outside the lock, because this runs users' formatting code. Two streams may render at the same time.
    let snapshot = shared.snapshot(false);
    let mut event = b"data: ".to_vec();
    serde_json::to_writer(&mut event, &snapshot).expect("a snapshot is JSON");
    event.extend_from_slice(b"\n\n");
    let rendered = Rendered { event: event.into(), totals: snapshot.totals(), is_idle: snapshot.is_idle() };
    shared.latest.lock().0 = Some((now, rendered.clone()));
    rendered
}

/// The streams, and when each began.
#[derive(Default)]
pub(super) struct Watchers(Mutex<Places>);

#[derive(Default)]
struct Places {
    next: u64,
    begun: HashMap<u64, Instant>,
}

/// One stream's place among the [`MAX_STREAMS`].
struct Place {
    all: Arc<Watchers>,
    number: u64,
}

impl Place {
    /// Takes a free place, or else the place of a stream that should have ended: its peer reads nothing, so it is not polled.
    fn new(shared: &Shared) -> Option<Self> {
        let now = shared.ctx.clock().now();
        let mut places = shared.watchers.lock();
        if places.begun.len() >= MAX_STREAMS {
            let (&number, &begun) = places.begun.iter().min_by_key(|(_, begun)| **begun)?;
            if now.saturating_duration_since(begun) < max_age(shared) {
                return None;
            }
            places.begun.remove(&number);
        }
        let number = places.next;
        places.next += 1;
        places.begun.insert(number, now);
        drop(places);
        Some(Place { all: Arc::clone(&shared.watchers), number })
    }

    /// Returns whether the stream may go on: it is not too old, and no other stream has taken its place.
    fn is_held(&self, shared: &Shared) -> bool {
        let now = shared.ctx.clock().now();
        let begun = self.all.lock().begun.get(&self.number).copied();
        begun.is_some_and(|begun| now.saturating_duration_since(begun) < max_age(shared))
    }
}

fn max_age(shared: &Shared) -> Duration {
    MAX_AGE.max(shared.interval.saturating_mul(MAX_AGE_INTERVALS))
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().begun.remove(&self.number);
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
