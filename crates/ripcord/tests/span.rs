//! The tree of spans: its shape with any number of threads, an end on every path, cancels with their causes, very deep trees,
//! and the limit of a long-lived root.

mod common;

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::future::pending;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;
use std::thread;

use common::{Gate, HANG, MS, SEC, User, assert_error, manual, poll_pinned, within};
use ripcord::{Context, Error, ErrorKind, Span, SpanBuilder, SpanGuard, SpanSnapshot, Value};
use static_assertions::{assert_impl_all, assert_not_impl_any};

assert_impl_all!(Span: Send, Sync, Unpin, Clone, fmt::Debug, fmt::Display, Value, UnwindSafe, RefUnwindSafe);
assert_impl_all!(SpanGuard: Send, Sync, Unpin, fmt::Debug);
assert_not_impl_any!(SpanGuard: Clone);
assert_impl_all!(SpanSnapshot: Send, Sync, Unpin, Clone, fmt::Debug);
assert_impl_all!(SpanBuilder: Send, Sync, Unpin, Clone, fmt::Debug);

// ===== the chapter's program =====

#[test]
fn tree_of_the_chapters_program_is_printed() {
    let (root, time) = manual();
    let function_d = |ctx: &Context| {
        let (_ctx, _span) = ctx.start_span("FunctionD");
        time.advance(300 * MS);
    };
    let function_c = |ctx: &Context| {
        let (_ctx, _span) = ctx.start_span("FunctionC");
        time.advance(150 * MS);
    };
    let function_b = |ctx: &Context| {
        let (ctx, _span) = ctx.start_span("FunctionB");
        time.advance(200 * MS);
        function_d(&ctx);
    };
    let function_a = |ctx: &Context| {
        let (ctx, _span) = ctx.start_span("FunctionA");
        time.advance(100 * MS);
        function_b(&ctx);
        function_c(&ctx);
    };

    let (ctx, main) = root.with_timeout(2 * SEC).start_span("Main");
    function_a(&ctx);
    time.advance(MS / 2);
    let tree = main.end();
    let lines = [
        "- Main: 750.5ms",
        "  - FunctionA: 750.0ms",
        "    - FunctionB: 500.0ms",
        "      - FunctionD: 300.0ms",
        "    - FunctionC: 150.0ms",
    ];
    assert_eq!(tree.to_string(), lines.join("\n"));
    assert_eq!(tree.children()[0].children()[0].to_string(), "- FunctionB: 500.0ms\n  - FunctionD: 300.0ms");
}

// ===== reading =====

#[test]
fn span_is_readable_before_and_after_its_end() {
    let (root, time) = manual();
    assert!(root.span().is_none());
    let started = time.now();
    let (ctx, guard) = root.start_span(String::from("import"));
    let span = ctx.span().expect("it carries one");
    time.advance(SEC);
    assert_eq!((span.name(), span.start(), span.duration()), ("import", started, SEC));
    assert!(!span.is_ended() && !guard.span().is_ended());
    assert!(span.children().is_empty());
    assert_eq!(span.to_string(), "- import (running): 1.0s");

    time.advance(SEC);
    let ended = guard.end();
    time.advance(SEC);
    for span in [span, ended] {
        assert_eq!((span.name(), span.start(), span.duration()), ("import", started, 2 * SEC));
        assert!(span.is_ended() && !span.is_panicked());
        assert!(span.err().is_none());
        assert_eq!(span.dropped(), 0);
    }
}

#[test]
fn context_returns_the_nearest_span_above() {
    let (root, _time) = manual();
    let (outer, _outer) = root.start_span("outer");
    let (inner, inner_guard) = outer.with_value(User(1)).with_name("n").start_span("inner");
    let name = |ctx: &Context| ctx.span().map(|span| span.name().to_owned());
    assert_eq!(name(&inner.without_cancel().with_timeout(SEC)).as_deref(), Some("inner"));
    assert_eq!(name(&outer).as_deref(), Some("outer"));
    assert_eq!(inner.value::<User>(), Some(&User(1)));
    // An ended span is still the parent of spans that are started later, as in Go.
    drop(inner_guard);
    drop(inner.start_span("late"));
    let names: Vec<_> =
        outer.span().expect("outer").snapshots().iter().map(|s| (s.depth(), s.name().to_owned())).collect();
    assert_eq!(names, [(0, "outer".to_owned()), (1, "inner".to_owned()), (2, "late".to_owned())]);
}

#[test]
fn span_as_a_value_is_the_parent_in_another_root() {
    let (root, _time) = manual();
    let (ctx, _guard) = root.start_span("request");
    let span = ctx.span().expect("it carries one");
    let job = Context::background().with_value(span.clone());
    assert_eq!(job.to_string(), "Background.WithValue(Span(request))");
    drop(job.start_span("job"));
    assert_eq!(span.children()[0].name(), "job");
}

#[test]
fn precision_of_the_formatter_sets_the_digits() {
    let (root, time) = manual();
    let (_ctx, guard) = root.start_span("x");
    time.advance(MS * 3 / 2);
    let span = guard.end();
    assert_eq!(format!("{span:.0} {span} {span:.3}"), "- x: 2ms - x: 1.5ms - x: 1.500ms");
}

#[test]
fn span_below_another_clock_uses_that_clock() {
    let (root, time) = manual();
    let (other, other_time) = ripcord::Clock::manual();
    let (ctx, outer) = root.start_span("outer");
    let (_ctx, inner) = ctx.with_clock(other).start_span("inner");
    time.advance(SEC);
    other_time.advance(MS);
    drop(inner);
    assert_eq!(outer.end().to_string(), "- outer: 1.0s\n  - inner: 1.0ms");
}

// ===== an end on every path =====

#[test]
fn early_return_ends_the_span() {
    fn work(ctx: &Context) -> Result<(), Error> {
        let (ctx, _span) = ctx.start_span("work");
        ctx.check()?;
        unreachable!("it is canceled")
    }
    let (root, _time) = manual();
    let (root, cancel) = root.with_cancel();
    let (ctx, main) = root.start_span("main");
    cancel.cancel();
    assert!(work(&ctx).is_err());
    assert_eq!(main.span().to_string(), "- main (running): 0.0ns\n  - work (canceled): 0.0ns");
}

#[test]
fn panic_ends_the_span_and_is_recorded() {
    struct TracesWhenDropped(Context);
    impl Drop for TracesWhenDropped {
        fn drop(&mut self) {
            drop(self.0.start_span("clean up"));
        }
    }
    let (root, time) = manual();
    let (ctx, main) = root.start_span("main");
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let (ctx, _outer) = ctx.start_span("outer");
        let (ctx, _inner) = ctx.start_span("inner");
        let _cleanup = TracesWhenDropped(ctx);
        time.advance(SEC);
        panic!("a test's own");
    }));
    assert!(panic.is_err());
    let tree = main.end();
    let lines =
        ["- main: 1.0s", "  - outer (panicked): 1.0s", "    - inner (panicked): 1.0s", "      - clean up: 0.0ns"];
    assert_eq!(tree.to_string(), lines.join("\n"));
    assert!(tree.children()[0].is_panicked() && !tree.is_panicked());
}

#[test]
fn dropped_task_ends_the_span() {
    let (root, time) = manual();
    let (ctx, main) = root.start_span("main");
    {
        let mut task = pin!(async {
            let (_ctx, _span) = ctx.start_span("task");
            pending::<()>().await;
        });
        assert!(poll_pinned(task.as_mut(), Waker::noop()).is_pending());
        time.advance(SEC);
        assert!(!main.span().children()[0].is_ended());
    }
    assert!(main.span().children()[0].is_ended());
    assert_eq!(main.end().to_string(), "- main: 1.0s\n  - task: 1.0s");
}

#[test]
fn aborted_task_ends_the_span() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (root, _time) = manual();
    let (ctx, main) = root.start_span("main");
    runtime.block_on(async {
        let task = tokio::spawn(async move {
            let (_ctx, _span) = ctx.start_span("task");
            pending::<()>().await;
        });
        tokio::task::yield_now().await;
        assert!(!main.span().children()[0].is_ended());
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
    });
    assert!(main.end().children()[0].is_ended());
}

// ===== cancels and their causes =====

#[test]
fn cancel_is_recorded_with_its_cause() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (main_ctx, main) = ctx.start_span("main");
    let (_ctx, before) = main_ctx.start_span("before");
    drop(before);
    let (_ctx, during) = main_ctx.start_span("during");
    cancel.cancel_with("out of disk");
    drop(during);
    let tree = main.end();
    let lines =
        ["- main (canceled: out of disk): 0.0ns", "  - before: 0.0ns", "  - during (canceled: out of disk): 0.0ns"];
    assert_eq!(tree.to_string(), lines.join("\n"));
    assert_error(&tree.err().expect("canceled"), ErrorKind::Canceled, Some("out of disk"));
    assert!(tree.children()[0].err().is_none());
    let story = format!("{tree:#}");
    assert!(story.contains("(context canceled: out of disk (canceled at "), "{story}");
}

#[test]
fn deadline_is_recorded() {
    let (root, time) = manual();
    let (_ctx, plain) = root.with_timeout(SEC).start_span("plain");
    let (_ctx, with_cause) = root.with_timeout_cause(SEC, "too slow").start_span("with cause");
    let (_ctx, in_time) = root.with_timeout(2 * SEC).start_span("in time");
    time.advance(SEC);
    let (plain, with_cause, in_time) = (plain.end(), with_cause.end(), in_time.end());
    time.advance(SEC);
    assert_eq!(plain.to_string(), "- plain (deadline exceeded): 1.0s");
    assert_eq!(with_cause.to_string(), "- with cause (deadline exceeded: too slow): 1.0s");
    assert_eq!(in_time.to_string(), "- in time: 1.0s");
    assert_error(&plain.err().expect("done"), ErrorKind::DeadlineExceeded, None);
}

#[test]
fn timeout_set_below_a_span_is_not_its_end() {
    let (root, time) = manual();
    let (ctx, guard) = root.start_span("call");
    let (_ctx, attempt) = ctx.with_timeout(SEC).start_span("attempt");
    time.advance(SEC);
    drop(attempt);
    assert_eq!(guard.end().to_string(), "- call: 1.0s\n  - attempt (deadline exceeded): 1.0s");
}

#[test]
fn control_characters_in_names_and_causes_are_escaped() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (_ctx, guard) = ctx.start_span("a\n- b: 1s\u{1b}[31m é");
    cancel.cancel_with("x\r\ny");
    let span = guard.end();
    assert_eq!(span.to_string(), "- a\\n- b: 1s\\u{1b}[31m é (canceled: x\\r\\ny): 0.0ns");
    assert_eq!(format!("{span:#}").lines().count(), 1);
    assert_eq!(span.name(), "a\n- b: 1s\u{1b}[31m é");
    let ctx = Context::background().with_value(span);
    assert_eq!(ctx.to_string(), "Background.WithValue(Span(a\\n- b: 1s\\u{1b}[31m é))");
}

// ===== many threads =====

#[test]
fn tree_read_during_starts_on_all_threads_loses_no_child() {
    const THREADS: usize = 8;
    const EACH: usize = if cfg!(miri) { 3 } else { 500 };
    within("children of all threads", || {
        let (root, _time) = manual();
        let (ctx, main) = root.start_span("main");
        let gate = Gate::new(THREADS + 1);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (ctx, gate) = (&ctx, &gate);
                scope.spawn(move || {
                    gate.pass();
                    for n in 0..EACH {
                        let (ctx, _outer) = ctx.start_span(format!("{thread}/{n}"));
                        drop(ctx.start_span("inner"));
                    }
                });
            }
            gate.pass();
            let mut before = 0;
            while before < 1 + THREADS * EACH * 2 {
                let spans = main.span().snapshots();
                assert!(spans.len() >= before, "what was recorded stays");
                before = spans.len();
                assert!(spans.iter().all(|span| span.depth() < 3));
            }
        });

        let tree = main.end();
        assert_eq!(tree.dropped(), 0);
        let mut next = [0; THREADS];
        for child in tree.children() {
            let (thread, n) = child.name().split_once('/').expect("as named above");
            let thread: usize = thread.parse().expect("a number");
            assert_eq!(n, next[thread].to_string(), "each thread's in its order");
            next[thread] += 1;
            assert_eq!(child.children().len(), 1);
            assert!(child.is_ended() && child.children()[0].is_ended());
        }
        assert_eq!(next, [EACH; THREADS]);
    });
}

#[test]
fn limit_is_exact_on_all_threads() {
    const THREADS: usize = 4;
    let (ctx, main) = Span::builder("main").root().limit(100).start(&Context::background());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..50).for_each(|_| drop(ctx.start_span("call"))));
        }
    });
    assert_eq!((main.span().children().len(), main.span().dropped()), (100, 100));
}

// ===== roots on demand =====

/// A request whose root span is created on demand, in the context above, so that it does not keep itself alive.
struct Request {
    above: Context,
    root: OnceLock<SpanGuard>,
}

impl Value for Request {}

fn request(server: &Context) -> Context {
    server.with_value(Request { above: server.clone(), root: OnceLock::new() })
}

fn with_requests(ctx: &Context) -> Context {
    Span::with_lazy_roots(ctx, |ctx| {
        let Request { above, root } = ctx.value::<Request>()?;
        Some(root.get_or_init(|| Span::builder("request").root().limit(100).start(above).1).span().clone())
    })
}

fn names(span: &Span) -> Vec<String> {
    span.snapshots().iter().map(|span| format!("{}{}", "-".repeat(span.depth()), span.name())).collect()
}

#[test]
fn lazy_root_is_shared_by_all_spans_below_it() {
    let (root, _serving) = Context::background().start_span("server");
    let server = with_requests(&root);
    let (one, other) = (request(&server), request(&server));
    let below = one.with_name("below").without_cancel();
    let (query, _query) = below.start_span("query");
    drop(query.start_span("row"));
    drop(one.start_span("render"));
    assert_eq!(names(&one.span().expect("it has one now")), ["request", "-query", "--row", "-render"]);
    assert_eq!(query.span().expect("its own").name(), "query");
    assert_eq!(names(&other.span().expect("started by this look")), ["request"]);
    assert_eq!(names(&root.span().expect("started above")), ["server"], "it shows none of them");
}

#[test]
fn span_without_a_lazy_root_is_a_root_and_a_nearer_span_wins() {
    let server = with_requests(&Context::background());
    assert!(server.span().is_none());
    let (ctx, guard) = server.start_span("alone");
    drop(ctx.start_span("below"));
    assert_eq!(names(guard.span()), ["alone", "-below"]);

    let (nearer, own) = Span::builder("own").root().start(&request(&server));
    drop(nearer.start_span("call"));
    assert_eq!(names(own.span()), ["own", "-call"]);
    assert!(nearer.value::<Request>().expect("it is a value").root.get().is_none(), "nobody needed it");
}

#[test]
fn start_time_in_the_past_lengthens_the_span() {
    let (root, time) = manual();
    let arrived = root.clock().now();
    time.advance(2 * SEC);
    let (ctx, request) = Span::builder("request").root().start_time(arrived).start(&root);
    let (_ctx, query) = ctx.start_span("query");
    time.advance(SEC);
    drop(query);
    assert_eq!(request.end().to_string(), "- request: 3.0s\n  - query: 1.0s");
}

// ===== no user code under a lock =====

#[test]
fn cause_and_writer_may_use_the_tree_being_printed() {
    /// Reads the tree and starts another span while it is printed and dropped.
    #[derive(Debug)]
    struct Nosy(Arc<Mutex<Option<Context>>>);
    impl Nosy {
        fn look(&self) {
            let ctx = self.0.lock().expect("no panic").clone();
            if let Some(ctx) = ctx {
                drop(ctx.start_span("nosy"));
                assert!(!ctx.span().expect("it carries one").snapshots().is_empty());
            }
        }
    }
    impl fmt::Display for Nosy {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.look();
            f.write_str("nosy")
        }
    }
    impl StdError for Nosy {}
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.look();
        }
    }
    struct NosyWriter(Span, String);
    impl fmt::Write for NosyWriter {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            assert!(!self.0.children().is_empty());
            self.1.write_str(text)
        }
    }

    within("a cause that looks", || {
        let (root, _time) = manual();
        let place = Arc::new(Mutex::new(None));
        let (ctx, guard) = root.start_span("main");
        *place.lock().expect("no panic") = Some(ctx.clone());
        let (below, cancel) = ctx.with_cancel();
        let (_below, child) = below.start_span("child");
        cancel.cancel_with(Nosy(Arc::clone(&place)));
        drop(child);
        let mut writer = NosyWriter(guard.span().clone(), String::new());
        write!(writer, "{}", guard.span()).expect("it is written");
        assert_eq!(writer.1, "- main (running): 0.0ns\n  - child (canceled: nosy): 0.0ns");
        assert_eq!(guard.span().children().len(), 2);
        // The tree holds the cause, and the cause holds the tree's context. The test breaks this cycle.
        *place.lock().expect("no panic") = None;
    });
}

#[test]
fn cause_panicking_in_display_breaks_nothing() {
    #[derive(Debug)]
    struct Bad;
    impl fmt::Display for Bad {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("a test's own")
        }
    }
    impl StdError for Bad {}
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (ctx, guard) = ctx.start_span("main");
    cancel.cancel_with(Bad);
    let span = guard.end();
    assert!(catch_unwind(AssertUnwindSafe(|| span.to_string())).is_err());
    drop(ctx.start_span("after"));
    assert_eq!(span.children().len(), 1);
}

// ===== depth =====

#[test]
fn deep_tree_of_spans_is_started_printed_and_dropped_on_a_small_stack() {
    // Two bytes of stack for each level.
    const LEVELS: usize = 131_072;
    let work = || {
        // With a manual clock, or with an end to inherit, each new context walks up the tree. So the root is on the system's
        // clock, and each level is cut off from the ends above. Otherwise the number of steps would be the square of the number
        // of levels.
        let (mut ctx, main) = Span::builder("0").root().limit(LEVELS).start(&Context::background());
        for _ in 0..LEVELS {
            // Each guard is dropped here. The context of an ended span still carries the span.
            (ctx, _) = ctx.without_cancel().start_span("f");
        }
        let tree = main.end();
        assert_eq!(tree.dropped(), 0);
        let spans = tree.snapshots();
        assert_eq!((spans.len(), spans[LEVELS].depth()), (LEVELS + 1, LEVELS));
        drop(spans);

        let text = tree.to_string();
        let (line, last) = (text.lines().nth(64).expect("a line"), text.lines().next_back().expect("a line"));
        assert!(line.starts_with(&format!("{}- f: ", " ".repeat(128))), "{line}");
        assert!(last.starts_with(&format!("{}- [level {LEVELS}] f: ", " ".repeat(128))), "{last}");
        drop(tree);
        drop(ctx);
    };
    let (ended, end) = mpsc::channel::<()>();
    let thread = thread::Builder::new()
        .stack_size(256 << 10)
        .spawn(move || {
            let _ended = ended;
            work();
        })
        .expect("a thread");
    assert_ne!(end.recv_timeout(HANG), Err(mpsc::RecvTimeoutError::Timeout), "hangs");
    thread.join().expect("it fits the stack");
}

// ===== the limit =====

#[test]
fn full_tree_stops_growing_and_counts() {
    let (root, time) = manual();
    let (ctx, main) = root.start_span("server");
    for n in 0..SpanBuilder::DEFAULT_LIMIT + 5 {
        drop(ctx.start_span(format!("request {n}")));
    }
    let tree = main.span().clone();
    assert_eq!((tree.children().len(), tree.dropped()), (SpanBuilder::DEFAULT_LIMIT, 5));

    // A span that is not recorded can still be measured. The spans below it count as dropped at the same root.
    let (beyond, guard) = ctx.with_timeout(SEC).start_span("beyond");
    drop(beyond.start_span("below"));
    time.advance(SEC);
    assert_eq!(beyond.span().expect("the nearest that is recorded").name(), "server");
    assert_eq!(guard.end().to_string(), "- beyond (deadline exceeded): 1.0s");
    assert_eq!((tree.children().len(), tree.dropped()), (SpanBuilder::DEFAULT_LIMIT, 7));
    let text = tree.to_string();
    assert!(text.ends_with("\n(7 more not recorded)"), "{text}");
    assert!(!tree.children()[0].to_string().contains("recorded"), "only the root says it");
}

#[test]
fn limit_of_zero_and_of_usize_max_work() {
    let (root, _time) = manual();
    let (ctx, none) = Span::builder("none").root().limit(0).start(&root);
    drop(ctx.start_span("child"));
    assert_eq!(none.end().to_string(), "- none: 0.0ns\n(1 more not recorded)");

    let (ctx, all) = Span::builder("all").root().limit(usize::MAX).start(&root);
    drop(ctx.start_span("child"));
    assert_eq!(all.end().to_string(), "- all: 0.0ns\n  - child: 0.0ns");
}

#[test]
fn root_below_a_span_is_not_in_its_tree() {
    let (root, _time) = manual();
    let (server, serving) = root.start_span("server");
    let (request, handling) = Span::builder("request").root().limit(10).start(&server);
    drop(request.start_span("query"));
    assert_eq!(handling.end().to_string(), "- request: 0.0ns\n  - query: 0.0ns");
    assert_eq!(serving.end().to_string(), "- server: 0.0ns");
}

#[test]
fn tree_is_freed_with_its_last_context_and_span() {
    #[derive(Debug)]
    struct Tracked(#[expect(dead_code, reason = "its count is what matters")] Arc<()>);
    impl fmt::Display for Tracked {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("tracked")
        }
    }
    impl StdError for Tracked {}

    let count = Arc::new(());
    let (root, _time) = manual();
    let (main_ctx, main) = root.start_span("main");
    {
        let (ctx, cancel) = main_ctx.with_cancel();
        let (_ctx, _child) = ctx.start_span("child");
        cancel.cancel_with(Tracked(Arc::clone(&count)));
    }
    drop(main);
    assert_eq!(Arc::strong_count(&count), 2, "the tree keeps the mark of its child");
    let span = main_ctx.span();
    drop(main_ctx);
    assert_eq!(Arc::strong_count(&count), 2);
    drop(span);
    assert_eq!(Arc::strong_count(&count), 1);
}
