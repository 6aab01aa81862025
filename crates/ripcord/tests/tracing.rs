//! The counterpart of each span in the crate `tracing`, as a subscriber sees the counterparts.
#![cfg(feature = "tracing")]

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ripcord::{Clock, Context, Span};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Instrument, Subscriber, info_span};
use tracing_subscriber::layer::{Context as Layers, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// The events of all spans, in order. Each event has the span's name: `open main`, `open query < main`, `close main`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    /// Records the events of this thread until the guard is dropped.
    fn listen() -> (Log, DefaultGuard) {
        let log = Log::default();
        let guard = set_default(tracing_subscriber::registry().with(log.clone()));
        (log, guard)
    }

    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    /// Returns the events since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A span's name: the field `otel.name`, or the name in the source code.
struct Name(String);

#[derive(Default)]
struct Fields(HashMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, layers: Layers<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let name = fields.0.remove("otel.name").unwrap_or_else(|| attributes.metadata().name().to_owned());
        let span = layers.span(id).unwrap();
        let parent = span.parent().map(|parent| format!(" < {}", parent.extensions().get::<Name>().unwrap().0));
        self.push(format!("open {name}{}", parent.unwrap_or_default()));
        span.extensions_mut().insert(Name(name));
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, layers: Layers<'_, S>) {
        let mut fields = Fields::default();
        record.record(&mut fields);
        let name = &layers.span(id).unwrap().extensions().get::<Name>().unwrap().0.clone();
        for (field, value) in fields.0 {
            self.push(format!("{name}: {field} = {value}"));
        }
    }

    fn on_enter(&self, id: &Id, layers: Layers<'_, S>) {
        self.push(format!("enter {}", layers.span(id).unwrap().extensions().get::<Name>().unwrap().0));
    }

    fn on_close(&self, id: Id, layers: Layers<'_, S>) {
        self.push(format!("close {}", layers.span(&id).unwrap().extensions().get::<Name>().unwrap().0));
    }
}

#[test]
fn counterpart_is_below_that_of_the_parent() {
    let (log, _listening) = Log::listen();
    let (ctx, main) = Context::background().start_span("main");
    let (below, query) = ctx.start_span(String::from("query"));
    assert_eq!(log.take(), ["open main", "open query < main"]);

    drop((below, query));
    assert_eq!(log.take(), ["enter query", "close query"]);
    drop(main);
    assert_eq!(log.take(), ["enter main"], "a context holds it");
    drop(ctx);
    assert_eq!(log.take(), ["close main"]);
}

/// Returns the fields recorded on the span of this name, as `field = value`.
fn recorded(lines: &[String], name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    let mut fields: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect();
    fields.sort();
    fields
}

#[test]
fn cancel_is_no_error_of_the_span() {
    let (log, _listening) = Log::listen();
    let (ctx, cancel) = Context::background().with_name("import").with_cancel();
    let span = ctx.start_span("canceled");
    let line = line!() + 1;
    cancel.cancel_with("out of disk");
    drop(span);
    let location = format!("ripcord.end.location = {}:{line}:12", file!());
    assert_eq!(
        recorded(&log.take(), "canceled"),
        ["ripcord.end = canceled", "ripcord.end.cause = out of disk", &location, "ripcord.end.name = import"]
    );
}

#[test]
fn deadline_is_an_error_of_type_timeout() {
    let (log, _listening) = Log::listen();
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let line = line!() + 1;
    let span = ctx.with_timeout(Duration::from_secs(1)).start_span("late");
    time.advance(Duration::from_secs(1));
    drop(span);
    let location = format!("ripcord.end.location = {}:{line}:20", file!());
    assert_eq!(
        recorded(&log.take(), "late"),
        [
            "error.type = timeout",
            "otel.status_code = error",
            "ripcord.end = deadline exceeded",
            &location,
            "ripcord.end.timeout_ms = 1000"
        ]
    );
}

#[test]
fn panic_is_an_error_of_type_panic() {
    let (log, _listening) = Log::listen();
    let panicked = std::panic::catch_unwind(|| {
        let _span = Context::background().start_span("panicked");
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    let fields = ["error.type = panic", "otel.status_code = error", "ripcord.end = panicked"];
    assert_eq!(recorded(&log.take(), "panicked"), fields);
}

#[test]
fn span_in_a_live_context_records_no_end() {
    let (log, _listening) = Log::listen();
    drop(Context::background().start_span("well"));
    assert_eq!(log.take(), ["open well", "enter well", "close well"]);
}

#[test]
fn span_has_the_callers_line_and_the_time_left() {
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<HashMap<&'static str, String>>>>);
    impl<S: Subscriber> Layer<S> for Seen {
        fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Layers<'_, S>) {
            assert_eq!((attributes.metadata().file(), attributes.metadata().module_path()), (None, None));
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
    }
    let seen = Seen::default();
    let _listening = set_default(tracing_subscriber::registry().with(seen.clone()));
    let (clock, _time) = Clock::manual();
    let root = Context::background().with_clock(clock);
    let line = line!() + 1;
    let (ctx, _main) = root.with_timeout(Duration::from_millis(1500)).start_span("main");
    let (_ctx, _query) = ctx.start_span("query");
    let (_ctx, _root) = Span::builder("root").root().start(&root);
    let seen = seen.0.lock().unwrap();
    for (fields, line) in seen.iter().zip(line..) {
        assert_eq!((&*fields["code.file.path"], &*fields["code.line.number"]), (file!(), &*line.to_string()));
    }
    let left: Vec<_> = seen.iter().map(|fields| fields.get("ripcord.time_left_ms").map(String::as_str)).collect();
    assert_eq!(left, [Some("1500"), Some("1500"), None]);
}

#[test]
fn first_span_is_below_the_threads_and_a_root_below_none() {
    let (log, _listening) = Log::listen();
    let outer = info_span!("outer");
    let _entered = outer.enter();
    let (ctx, _span) = Context::background().start_span("first");
    let (_ctx, _root) = Span::builder("root").root().start(&ctx);
    assert_eq!(log.take(), ["open outer", "enter outer", "open first < outer", "open root"]);
}

#[test]
fn future_runs_in_the_span_of_its_context() {
    let (log, _listening) = Log::listen();
    let (ctx, _span) = Context::background().start_span("main");
    let work = async { drop(info_span!("inner")) };
    futures::executor::block_on(work.instrument(ctx.tracing_span()));
    let lines = log.take();
    assert!(lines.contains(&"open inner < main".to_owned()), "{lines:?}");
    assert!(!ctx.tracing_span().is_disabled());
}

#[test]
fn another_thread_and_another_subscriber_change_nothing() {
    let (log, _listening) = Log::listen();
    let (ctx, _span) = Context::background().start_span("main");
    let other = Log::default();
    std::thread::scope(|threads| {
        threads.spawn(|| drop(ctx.start_span("without")));
        threads.spawn(|| {
            let _listening = set_default(tracing_subscriber::registry().with(other.clone()));
            drop(ctx.start_span("with another"));
            drop(info_span!("its own"));
        });
    });
    let lines = log.take();
    assert!(lines.contains(&"open without < main".to_owned()), "{lines:?}");
    assert!(lines.contains(&"open with another < main".to_owned()), "{lines:?}");
    assert_eq!(other.take(), ["open its own", "close its own"]);
}

#[test]
fn span_kept_for_reading_does_not_hold_its_counterpart_open() {
    let (log, _listening) = Log::listen();
    let (ctx, guard) = Context::background().start_span("main");
    let seen = ctx.span().unwrap();
    assert!(!seen.tracing_span().is_disabled());
    // The ended span is still the parent in another context.
    let job = Context::background().with_value(seen.clone());
    drop(job.start_span("job"));
    let ended = guard.end();
    drop(ctx);
    assert_eq!(log.take().last().unwrap(), "close main");
    assert!(seen.tracing_span().is_disabled() && ended.tracing_span().is_disabled());
    assert_eq!(ended.children()[0].name(), "job");
    assert!(ended.children()[0].tracing_span().is_disabled());
    // The parent's counterpart has closed, so the new span's counterpart has no parent.
    drop(job.start_span("late"));
    assert_eq!(log.take()[0], "open late");
}

#[test]
fn without_a_subscriber_only_the_tree_is_recorded() {
    let (ctx, guard) = Context::background().start_span("main");
    assert!(ctx.tracing_span().is_disabled());
    drop(ctx.start_span("query"));
    assert_eq!(guard.end().children()[0].name(), "query");
    assert!(Context::background().tracing_span().is_disabled());
}

#[test]
fn span_above_the_limit_has_no_counterpart() {
    let (log, _listening) = Log::listen();
    let (ctx, _span) = Span::builder("main").root().limit(1).start(&Context::background());
    drop(ctx.start_span("kept"));
    log.take();
    drop(ctx.start_span("dropped"));
    assert_eq!(log.take(), [""; 0]);
}
