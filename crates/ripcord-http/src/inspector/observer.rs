//! Shows the requests of a [`ContextLayer`] in the inspector.

use std::{panic::Location, sync::Arc, time::Duration};

use http::StatusCode;
use ripcord::{Context, Error, Span};

use super::{
    Inspector,
    entry::{EntryEnd, Kind},
    entry_guard::nearest,
    tasks::TaskList,
};
use crate::server::{ContextLayer, Counters, EntryKey, Observer, StartedRequest};

impl ContextLayer {
    /// Shows the requests of this layer, and their counts, on the page of an [`Inspector`]. A user of the page can cancel a
    /// request. The context of the request then ends with the cause [`CanceledHere`](crate::inspector::CanceledHere).
    ///
    /// The page shows the calls of each request. Each [span](Context::start_span) that the handler starts is a call. All calls of a
    /// request are below one root span. The root span reports the source line that called `inspector`. With the setting
    /// [`tracing`](ContextLayer::tracing), the root span is the exported span of the request. It reports the source line that
    /// created the layer.
    #[must_use]
    #[track_caller]
    pub fn inspector(self, inspector: &Inspector) -> Self {
        self.observer(Arc::new(inspector.clone()), Location::caller())
    }
}

impl Observer for Inspector {
    fn server(&self, server: &Context, location: &'static Location<'static>) -> Context {
        // Each request has its own root span, which is created with the first call.
        let inspector = self.clone();
        let (server, tasks) = TaskList::new(server);
        self.shared.task_lists().push(tasks);
        Span::with_lazy_roots(&server, move |ctx| inspector.root_span(nearest(ctx)?, location))
    }

    fn count(&self, counters: &Arc<Counters>) {
        let mut all = self.shared.counters();
        if !all.iter().any(|counted| Arc::ptr_eq(counted, counters)) {
            all.push(Arc::clone(counters));
        }
    }

    #[cfg(feature = "tracing")]
    fn max_calls(&self) -> usize {
        self.shared.max_calls
    }

    fn begin(&self, request: StartedRequest<'_>) -> EntryKey {
        let StartedRequest { ctx, cancel, at, deadline, span } = request;
        let place = self.shared.registry.insert(Kind::Request { deadline }, at, ctx.clone(), cancel, None);
        if let Some(span) = span {
            self.shared.registry.set_root(place, span.clone(), None);
        }
        place
    }

    fn answered(&self, place: EntryKey, status: StatusCode) {
        self.shared.registry.answered(place, status);
    }

    fn end(&self, place: EntryKey, latency: Duration, error: Option<Error>, is_panicked: bool) {
        let guard = self.shared.registry.end(place, EntryEnd { latency, error, is_panicked });
        // Dropped outside the lock, because this may call a subscriber.
        drop(guard);
    }

    fn leave(&self, place: EntryKey) {
        self.shared.registry.remove(place);
    }
}
