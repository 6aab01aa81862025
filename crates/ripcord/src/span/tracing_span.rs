//! The spans of the crate `tracing` that mirror the spans of this crate.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};

use tracing::callsite::{DefaultCallsite, Identifier};
use tracing::field::{FieldSet, Value, ValueSet, display};
use tracing::level_filters::LevelFilter;
use tracing::metadata::Kind;
use tracing::subscriber::NoSubscriber;
use tracing::{Level, Metadata, Span, dispatcher};

use super::builder::{Parent, Start};
use super::snapshot::End;
use crate::context::Context;

/// The fields of each span, as listed in the docs of [`Context::tracing_span`]. The first four are set at the start of the
/// span.
const FIELDS: [&str; 12] = [
    "otel.name",
    "code.file.path",
    "code.line.number",
    "ripcord.time_left_ms",
    "otel.kind",
    "otel.status_code",
    "error.type",
    "ripcord.end",
    "ripcord.end.cause",
    "ripcord.end.name",
    "ripcord.end.location",
    "ripcord.end.timeout_ms",
];

// This call site is written without the macros of `tracing`, because they store the file and line of their call, which is in
// this crate. `tracing-opentelemetry` would export that line as the span's `code.*`, beside the line of the caller.
static CALLSITE: DefaultCallsite = DefaultCallsite::new(&METADATA);
static METADATA: Metadata<'static> = Metadata::new(
    "span",
    "ripcord",
    Level::INFO,
    None,
    None,
    None,
    FieldSet::new(&FIELDS, Identifier(&CALLSITE)),
    Kind::SPAN,
);

/// The counterpart of a span, if a subscriber has enabled it.
///
/// The counterpart is open while the guard or a context of the span is held. The subscriber is notified when it closes. A clone
/// refers to the counterpart and does not hold it open, because a [`Span`](super::Span) kept for later reading must not delay
/// the export.
#[derive(Default)]
pub(super) struct TracingSpan(Hold);

#[derive(Default)]
enum Hold {
    /// No subscriber has enabled the counterpart.
    #[default]
    None,
    Open(Arc<Open>),
    Reference(Weak<Open>),
}

/// Reports to the subscriber with which the span began, and not to the thread's subscriber, which does not know the span's id.
///
/// Unwind safe, because a feature must not remove an auto trait of [`Span`](super::Span). The subscriber handles the state that
/// a panic leaves.
struct Open(AssertUnwindSafe<Span>);

impl Open {
    /// Calls `act` while the span's own subscriber is the thread's subscriber.
    fn within<R>(&self, act: impl FnOnce(&Span) -> R) -> Option<R> {
        self.0.with_subscriber(|(_, subscriber)| dispatcher::with_default(subscriber, || act(&self.0)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // The span closes here. A registry then closes the span's ancestors in the thread's subscriber.
        let subscriber = self.0.with_subscriber(|(_, subscriber)| subscriber.clone());
        let span = std::mem::replace(&mut *self.0, Span::none());
        if let Some(subscriber) = subscriber {
            dispatcher::with_default(&subscriber, || drop(span));
        }
    }
}

impl Clone for TracingSpan {
    fn clone(&self) -> Self {
        TracingSpan(match &self.0 {
            Hold::None => Hold::None,
            Hold::Open(span) => Hold::Reference(Arc::downgrade(span)),
            Hold::Reference(span) => Hold::Reference(Weak::clone(span)),
        })
    }
}

impl TracingSpan {
    /// Starts the counterpart of a span. If the parent has no open counterpart, the new counterpart is below the thread's
    /// current span.
    pub(super) fn begin(parent: Parent<'_>, start: &Start<'_>) -> Self {
        match parent {
            Parent::None => Self::start(start, |values| Span::new_root(&METADATA, values)),
            Parent::Current => Self::start(start, |values| Span::new(&METADATA, values)),
            Parent::Span(parent) => {
                let below = |parent: &Span| Self::start(start, |values| Span::child_of(parent.id(), &METADATA, values));
                let child = parent.tracing.get().and_then(|open| open.within(below));
                child.unwrap_or_else(|| Self::begin(Parent::Current, start))
            }
        }
    }

    fn start(start: &Start<'_>, make: impl FnOnce(&ValueSet<'_>) -> Span) -> Self {
        if !is_wanted() {
            return TracingSpan::default();
        }
        let mut fields = METADATA.fields().iter();
        let [name, file, line, left] = std::array::from_fn(|_| fields.next().expect("there are at least four fields"));
        let (source_file, source_line) = (start.location.file(), start.location.line());
        let remaining = start.ctx.remaining().map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        let values = [
            (&name, Some(&start.name as &dyn Value)),
            (&file, Some(&source_file as &dyn Value)),
            (&line, Some(&source_line as &dyn Value)),
            (&left, remaining.as_ref().map(|left| left as &dyn Value)),
        ];
        let span = make(&METADATA.fields().value_set(&values));
        // If only another thread has a subscriber, no subscriber receives this span.
        let is_received = span.with_subscriber(|(_, subscriber)| !subscriber.is::<NoSubscriber>());
        TracingSpan(match is_received {
            Some(true) => Hold::Open(Arc::new(Open(AssertUnwindSafe(span)))),
            _ => Hold::None,
        })
    }

    /// Returns a clone that holds the span open.
    pub(super) fn hold(&self) -> Self {
        TracingSpan(self.get().map_or(Hold::None, Hold::Open))
    }

    fn get(&self) -> Option<Arc<Open>> {
        match &self.0 {
            Hold::None => None,
            Hold::Open(span) => Some(Arc::clone(span)),
            Hold::Reference(span) => span.upgrade(),
        }
    }

    /// Records how the span ended. The caller holds no lock, because a subscriber is foreign code.
    pub(super) fn end(&self, end: &End) {
        let record = |span: &Span| {
            record_end(span, end);
            // The span closes with the last context that carries it. The span's duration ends at its last exit, which is now.
            span.in_scope(|| ());
        };
        self.get().and_then(|open| open.within(record));
    }
}

/// Returns whether the thread's subscriber has enabled these spans, like the macros of `tracing`.
fn is_wanted() -> bool {
    if *METADATA.level() > LevelFilter::current() {
        return false;
    }
    let interest = CALLSITE.interest();
    !interest.is_never()
        && (interest.is_always() || dispatcher::get_default(|subscriber| subscriber.enabled(&METADATA)))
}

/// Records the error of a span. A cancel is not an error of the span. A deadline and a panic are errors.
fn record_end(span: &Span, end: &End) {
    let failed = |kind: &str| {
        span.record("error.type", kind).record("otel.status_code", "error");
    };
    if let Some(error) = &end.error {
        let (origin, is_deadline) = (error.origin(), error.is_deadline_exceeded());
        if !end.panicked {
            span.record("ripcord.end", if is_deadline { "deadline exceeded" } else { "canceled" });
        }
        span.record("ripcord.end.location", display(origin.location()));
        if let Some(name) = origin.name() {
            span.record("ripcord.end.name", name);
        }
        if let Some(timeout) = origin.timeout() {
            span.record("ripcord.end.timeout_ms", u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
        if let Some(cause) = error.cause() {
            span.record("ripcord.end.cause", display(format_args!("{cause:#}")));
        }
        if is_deadline && !end.panicked {
            failed("timeout");
        }
    }
    if end.panicked {
        span.record("ripcord.end", "panicked");
        failed("panic");
    }
}

impl super::Span {
    /// Returns the `tracing` span that mirrors this span. See [`Context::tracing_span`].
    ///
    /// The returned `tracing` span is disabled in three cases: if no subscriber enables it, if this span has ended and all
    /// contexts that carry it were dropped, or if this `Span` was returned by [`children`](super::Span::children).
    pub fn tracing_span(&self) -> Span {
        self.tracing.get().map_or_else(Span::none, |span| Span::clone(&span.0))
    }
}

impl Context {
    /// Returns the `tracing` span that mirrors this context's [`span`](Context::span). If this context has no span, returns
    /// a disabled `tracing` span.
    ///
    /// To run a future inside the `tracing` span, write `future.instrument(ctx.tracing_span())`.
    ///
    /// Each [`Span`](crate::Span) is mirrored by a `tracing` span with the target `ripcord` and the level `INFO`. A child
    /// `Span` is mirrored by a child of the parent's `tracing` span. The root of a tree is mirrored by a child of the
    /// thread's current `tracing` span, or, with [`SpanBuilder::root`](crate::SpanBuilder::root), by a `tracing` span
    /// without a parent. A `tracing` span closes after the guard of its `Span`, all contexts that carry the `Span`, and all
    /// spans below it were dropped.
    ///
    /// The `tracing` span has OpenTelemetry attributes. `otel.name` is the name of the `Span`. `code.file.path` and
    /// `code.line.number` are the line that started it. An exceeded deadline sets `error.type` to `timeout`, and a
    /// panic sets it to `panic`. Both set `otel.status_code` to `error`. A cancel is not an error. `ripcord-http` sets
    /// `otel.kind`. Here and in the table, an expired idle timeout counts as an exceeded deadline.
    ///
    /// This table lists the attributes with the prefix `ripcord.`. The attributes that start with `ripcord.end` are set when
    /// the span ends.
    ///
    /// | attribute | value | set |
    /// |---|---|---|
    /// | `ripcord.time_left_ms` | milliseconds left until the context's deadline when the span started | if there is a deadline |
    /// | `ripcord.end` | `canceled`, `deadline exceeded` or `panicked` | if the context had ended, or a panic dropped the guard |
    /// | `ripcord.end.cause` | the cause of the end, with its sources | if a cause was passed |
    /// | `ripcord.end.name` | the name of the context that ended first, or of its nearest ancestor with a name | if there is a name |
    /// | `ripcord.end.location` | file, line and column that canceled the context or set its deadline | if the context had ended |
    /// | `ripcord.end.timeout_ms` | the timeout with which the deadline was set, in milliseconds | if a deadline ended the context |
    /// | `ripcord.request_id` | the request's id | by `ripcord-http`, on the spans of requests and calls |
    ///
    /// ```
    /// use ripcord::Context;
    /// use tracing::{Instrument, info};
    ///
    /// # futures::executor::block_on(async {
    /// let (ctx, _span) = Context::background().start_span("import");
    /// let span = ctx.tracing_span();
    /// async move { info!("this event belongs to the span") }.instrument(span).await;
    /// # });
    /// ```
    pub fn tracing_span(&self) -> Span {
        self.span().as_ref().map_or_else(Span::none, super::Span::tracing_span)
    }
}

#[cfg(test)]
mod tests {
    use super::FIELDS;

    #[test]
    fn docs_list_every_field_and_no_other() {
        let source = include_str!("tracing_span.rs");
        let docs = source.split_once("impl Context {").and_then(|(_, docs)| docs.split_once("pub fn tracing_span"));
        let (docs, _) = docs.expect("the docs of `Context::tracing_span`");
        for field in FIELDS {
            assert!(docs.contains(&format!("`{field}`")), "{field} is not documented");
        }
        let rows = docs.lines().filter_map(|line| line.trim().strip_prefix("/// | `")?.split('`').next());
        let of_this_crate: Vec<_> = rows.filter(|field| *field != "ripcord.request_id").collect();
        let fields: Vec<_> = FIELDS.into_iter().filter(|field| field.starts_with("ripcord.")).collect();
        assert_eq!(of_this_crate, fields);
    }
}
