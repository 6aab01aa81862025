//! The live stream: a snapshot now and then, as server-sent events.

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

/// So many streams at a time; a page more than that is told to ask again later.
const MOST_WATCHERS: usize = 32;
/// Who has taken nothing for so long, or for so many intervals if that is longer, gives its place to whoever wants one: a
/// peer that never reads is not polled, and so could not be told to go.
const MOST_IDLE: Duration = Duration::from_secs(30);
const MOST_IDLE_INTERVALS: u32 = 4;
/// After so many intervals with nothing to say a comment is sent, so that a peer that has gone is noticed.
const MOST_QUIET: u32 = 20;

/// The snapshot that was rendered last: all who watch at the same time get the same one.
#[derive(Default)]
pub(super) struct Latest(Option<(Instant, Rendered)>);

#[derive(Clone)]
struct Rendered {
    event: Bytes,
    /// Two that are equal and idle say the same.
    totals: (u64, u64),
    is_idle: bool,
}

#[cfg(test)]
impl Latest {
    pub(super) fn when(&self) -> Option<Instant> {
        Some(self.0.as_ref()?.0)
    }
}

/// The body of a stream that goes on until the peer leaves or the inspector's context ends.
pub(super) struct EventStream {
    shared: Arc<Shared>,
    watcher: Watcher,
    sleep: Option<Pin<Box<Sleep>>>,
    last: Option<(u64, u64)>,
    quiet: u32,
}

impl EventStream {
    /// `None` when there are too many.
    pub(super) fn new(shared: Arc<Shared>) -> Option<Self> {
        let watcher = Watcher::new(&shared)?;
        Some(EventStream { shared, watcher, sleep: None, last: None, quiet: 0 })
    }

    /// What to send now, if anything.
    fn event(&mut self) -> Option<Bytes> {
        let rendered = render(&self.shared);
        if rendered.is_idle && self.last == Some(rendered.totals) {
            self.quiet += 1;
            return self.quiet.is_multiple_of(MOST_QUIET).then(|| Bytes::from_static(b": nothing new\n\n"));
        }
        self.last = Some(rendered.totals);
        self.quiet = 0;
        Some(rendered.event)
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            // Before the first event there is nothing to wait for.
            let slept = match &mut this.sleep {
                Some(sleep) => task::ready!(sleep.as_mut().poll(cx)),
                None => this.shared.ctx.check(),
            };
            if slept.is_err() || !this.watcher.is_watching(&this.shared) {
                return Poll::Ready(None);
            }
            // From when the last one was taken: whoever reads slowly gets fewer.
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
    // Outside of the lock, for it formats what users wrote. Two at the same time both render.
    let snapshot = shared.snapshot(false);
    let mut event = b"data: ".to_vec();
    serde_json::to_writer(&mut event, &snapshot).expect("a snapshot is JSON");
    event.extend_from_slice(b"\n\n");
    let rendered = Rendered { event: event.into(), totals: snapshot.totals(), is_idle: snapshot.is_idle() };
    shared.latest.lock().0 = Some((now, rendered.clone()));
    rendered
}

/// All who watch, and when each has last taken something.
#[derive(Default)]
pub(super) struct Watchers(Mutex<Seats>);

#[derive(Default)]
struct Seats {
    next: u64,
    taken: HashMap<u64, Instant>,
}

/// One of those who watch.
struct Watcher {
    all: Arc<Watchers>,
    number: u64,
}

impl Watcher {
    fn new(shared: &Shared) -> Option<Self> {
        let now = shared.ctx.clock().now();
        let mut seats = shared.watchers.lock();
        if seats.taken.len() >= MOST_WATCHERS {
            let most_idle = MOST_IDLE.max(shared.interval.saturating_mul(MOST_IDLE_INTERVALS));
            let (&number, &last) = seats.taken.iter().min_by_key(|(_, last)| **last)?;
            if now.saturating_duration_since(last) < most_idle {
                return None;
            }
            seats.taken.remove(&number);
        }
        let number = seats.next;
        seats.next += 1;
        seats.taken.insert(number, now);
        drop(seats);
        Some(Watcher { all: Arc::clone(&shared.watchers), number })
    }

    /// False when its place was given to another. It is asking for more.
    fn is_watching(&self, shared: &Shared) -> bool {
        let now = shared.ctx.clock().now();
        let mut seats = self.all.lock();
        seats.taken.get_mut(&self.number).map(|last| *last = now).is_some()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.all.lock().taken.remove(&self.number);
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
