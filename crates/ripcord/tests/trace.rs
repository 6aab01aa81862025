//! The tree of calls: its shape from any number of threads, an end on every path, what was canceled and why, the depth that
//! a stack would not hold, and a bound on what a long-lived root keeps.

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
use ripcord::{Context, Error, ErrorKind, Span, Trace, TraceGuard, Value};
use static_assertions::{assert_impl_all, assert_not_impl_any};

assert_impl_all!(Trace: Send, Sync, Unpin, Clone, fmt::Debug, fmt::Display, Value, UnwindSafe, RefUnwindSafe);
assert_impl_all!(TraceGuard: Send, Sync, Unpin, fmt::Debug);
assert_not_impl_any!(TraceGuard: Clone);
assert_impl_all!(Span: Send, Sync, Unpin, Clone, fmt::Debug);

// ===== the chapter's =====

#[test]
fn the_chapters_whole_tree_is_printed() {
    let (root, time) = manual();
    let function_d = |ctx: &Context| {
        let (_ctx, _trace) = ctx.start_trace("FunctionD");
        time.advance(300 * MS);
    };
    let function_c = |ctx: &Context| {
        let (_ctx, _trace) = ctx.start_trace("FunctionC");
        time.advance(150 * MS);
    };
    let function_b = |ctx: &Context| {
        let (ctx, _trace) = ctx.start_trace("FunctionB");
        time.advance(200 * MS);
        function_d(&ctx);
    };
    let function_a = |ctx: &Context| {
        let (ctx, _trace) = ctx.start_trace("FunctionA");
        time.advance(100 * MS);
        function_b(&ctx);
        function_c(&ctx);
    };

    let (ctx, main) = root.with_timeout(2 * SEC).start_trace("Main");
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
fn a_trace_is_read_while_under_way_and_after() {
    let (root, time) = manual();
    assert!(root.trace().is_none());
    let begun = time.now();
    let (ctx, guard) = root.start_trace(String::from("import"));
    let trace = ctx.trace().expect("it carries one");
    time.advance(SEC);
    assert_eq!((trace.name(), trace.start(), trace.duration()), ("import", begun, SEC));
    assert!(!trace.is_ended() && !guard.trace().is_ended());
    assert!(trace.children().is_empty());
    assert_eq!(trace.to_string(), "- import (running): 1.0s");

    time.advance(SEC);
    let ended = guard.end();
    time.advance(SEC);
    for trace in [trace, ended] {
        assert_eq!((trace.name(), trace.start(), trace.duration()), ("import", begun, 2 * SEC));
        assert!(trace.is_ended() && !trace.is_panicked());
        assert!(trace.err().is_none());
        assert_eq!(trace.dropped(), 0);
    }
}

#[test]
fn a_trace_is_the_nearest_above() {
    let (root, _time) = manual();
    let (outer, _outer) = root.start_trace("outer");
    let (inner, inner_guard) = outer.with_value(User(1)).with_name("n").start_trace("inner");
    let name = |ctx: &Context| ctx.trace().map(|trace| trace.name().to_owned());
    assert_eq!(name(&inner.without_cancel().with_timeout(SEC)).as_deref(), Some("inner"));
    assert_eq!(name(&outer).as_deref(), Some("outer"));
    assert_eq!(inner.value::<User>(), Some(&User(1)));
    // An ended one goes on to be the parent of what outlives it, as in Go.
    drop(inner_guard);
    drop(inner.start_trace("late"));
    let names: Vec<_> =
        outer.trace().expect("outer").spans().iter().map(|s| (s.depth(), s.name().to_owned())).collect();
    assert_eq!(names, [(0, "outer".to_owned()), (1, "inner".to_owned()), (2, "late".to_owned())]);
}

#[test]
fn a_trace_is_a_value_that_can_be_handed_to_another_root() {
    let (root, _time) = manual();
    let (ctx, _guard) = root.start_trace("request");
    let trace = ctx.trace().expect("it carries one");
    let job = Context::background().with_value(trace.clone());
    assert_eq!(job.to_string(), "Background.WithValue(Trace(request))");
    drop(job.start_trace("job"));
    assert_eq!(trace.children()[0].name(), "job");
}

#[test]
fn the_precision_is_the_formatters() {
    let (root, time) = manual();
    let (_ctx, guard) = root.start_trace("x");
    time.advance(MS * 3 / 2);
    let trace = guard.end();
    assert_eq!(format!("{trace:.0} {trace} {trace:.3}"), "- x: 2ms - x: 1.5ms - x: 1.500ms");
}

#[test]
fn a_clock_below_is_that_of_the_traces_below() {
    let (root, time) = manual();
    let (other, other_time) = ripcord::Clock::manual();
    let (ctx, outer) = root.start_trace("outer");
    let (_ctx, inner) = ctx.with_clock(other).start_trace("inner");
    time.advance(SEC);
    other_time.advance(MS);
    drop(inner);
    assert_eq!(outer.end().to_string(), "- outer: 1.0s\n  - inner: 1.0ms");
}

// ===== an end on every path =====

#[test]
fn an_early_return_ends_it() {
    fn work(ctx: &Context) -> Result<(), Error> {
        let (ctx, _trace) = ctx.start_trace("work");
        ctx.check()?;
        unreachable!("it is canceled")
    }
    let (root, _time) = manual();
    let (root, cancel) = root.with_cancel();
    let (ctx, main) = root.start_trace("main");
    cancel.cancel();
    assert!(work(&ctx).is_err());
    assert_eq!(main.trace().to_string(), "- main (running): 0.0ns\n  - work (canceled): 0.0ns");
}

#[test]
fn a_panic_ends_it_and_is_marked() {
    struct TracesWhenDropped(Context);
    impl Drop for TracesWhenDropped {
        fn drop(&mut self) {
            drop(self.0.start_trace("clean up"));
        }
    }
    let (root, time) = manual();
    let (ctx, main) = root.start_trace("main");
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let (ctx, _outer) = ctx.start_trace("outer");
        let (ctx, _inner) = ctx.start_trace("inner");
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
fn a_task_that_is_dropped_ends_it() {
    let (root, time) = manual();
    let (ctx, main) = root.start_trace("main");
    {
        let mut task = pin!(async {
            let (_ctx, _trace) = ctx.start_trace("task");
            pending::<()>().await;
        });
        assert!(poll_pinned(task.as_mut(), Waker::noop()).is_pending());
        time.advance(SEC);
        assert!(!main.trace().children()[0].is_ended());
    }
    assert!(main.trace().children()[0].is_ended());
    assert_eq!(main.end().to_string(), "- main: 1.0s\n  - task: 1.0s");
}

#[test]
fn a_task_that_is_aborted_ends_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (root, _time) = manual();
    let (ctx, main) = root.start_trace("main");
    runtime.block_on(async {
        let task = tokio::spawn(async move {
            let (_ctx, _trace) = ctx.start_trace("task");
            pending::<()>().await;
        });
        tokio::task::yield_now().await;
        assert!(!main.trace().children()[0].is_ended());
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
    });
    assert!(main.end().children()[0].is_ended());
}

// ===== what was canceled, and why =====

#[test]
fn a_cancel_is_marked_with_its_cause() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (main_ctx, main) = ctx.start_trace("main");
    let (_ctx, before) = main_ctx.start_trace("before");
    drop(before);
    let (_ctx, during) = main_ctx.start_trace("during");
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
fn a_deadline_is_marked() {
    let (root, time) = manual();
    let (_ctx, plain) = root.with_timeout(SEC).start_trace("plain");
    let (_ctx, with_cause) = root.with_timeout_cause(SEC, "too slow").start_trace("with cause");
    let (_ctx, in_time) = root.with_timeout(2 * SEC).start_trace("in time");
    time.advance(SEC);
    let (plain, with_cause, in_time) = (plain.end(), with_cause.end(), in_time.end());
    time.advance(SEC);
    assert_eq!(plain.to_string(), "- plain (deadline exceeded): 1.0s");
    assert_eq!(with_cause.to_string(), "- with cause (deadline exceeded: too slow): 1.0s");
    assert_eq!(in_time.to_string(), "- in time: 1.0s");
    assert_error(&plain.err().expect("done"), ErrorKind::DeadlineExceeded, None);
}

#[test]
fn a_timeout_taken_within_is_not_the_callers() {
    let (root, time) = manual();
    let (ctx, guard) = root.start_trace("call");
    let (_ctx, attempt) = ctx.with_timeout(SEC).start_trace("attempt");
    time.advance(SEC);
    drop(attempt);
    assert_eq!(guard.end().to_string(), "- call: 1.0s\n  - attempt (deadline exceeded): 1.0s");
}

#[test]
fn names_and_causes_cannot_pass_for_lines() {
    let (root, _time) = manual();
    let (ctx, cancel) = root.with_cancel();
    let (_ctx, guard) = ctx.start_trace("a\n- b: 1s\u{1b}[31m é");
    cancel.cancel_with("x\r\ny");
    let trace = guard.end();
    assert_eq!(trace.to_string(), "- a\\n- b: 1s\\u{1b}[31m é (canceled: x\\r\\ny): 0.0ns");
    assert_eq!(format!("{trace:#}").lines().count(), 1);
    assert_eq!(trace.name(), "a\n- b: 1s\u{1b}[31m é");
    let ctx = Context::background().with_value(trace);
    assert_eq!(ctx.to_string(), "Background.WithValue(Trace(a\\n- b: 1s\\u{1b}[31m é))");
}

// ===== many threads =====

#[test]
fn children_of_all_threads_are_there_in_a_tree_that_is_read_meanwhile() {
    const THREADS: usize = 8;
    const EACH: usize = if cfg!(miri) { 10 } else { 500 };
    within("children of all threads", || {
        let (root, _time) = manual();
        let (ctx, main) = root.start_trace("main");
        let gate = Gate::new(THREADS + 1);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (ctx, gate) = (&ctx, &gate);
                scope.spawn(move || {
                    gate.pass();
                    for n in 0..EACH {
                        let (ctx, _outer) = ctx.start_trace(format!("{thread}/{n}"));
                        drop(ctx.start_trace("inner"));
                    }
                });
            }
            gate.pass();
            let mut before = 0;
            while before < 1 + THREADS * EACH * 2 {
                let spans = main.trace().spans();
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
fn the_limit_is_exact_on_all_threads() {
    const THREADS: usize = 4;
    let (ctx, main) = Context::background().start_root_trace("main", 100);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..50).for_each(|_| drop(ctx.start_trace("call"))));
        }
    });
    assert_eq!((main.trace().children().len(), main.trace().dropped()), (100, 100));
}

// ===== roots on demand =====

/// A request, whose root is begun when it is asked for: in the context above, so that it does not hold itself.
struct Request {
    above: Context,
    root: OnceLock<TraceGuard>,
}

impl Value for Request {}

fn request(server: &Context) -> Context {
    server.with_value(Request { above: server.clone(), root: OnceLock::new() })
}

fn with_requests(ctx: &Context) -> Context {
    ctx.with_root_traces(|ctx| {
        let Request { above, root } = ctx.value::<Request>()?;
        Some(root.get_or_init(|| above.start_root_trace("request", 100).1).trace().clone())
    })
}

fn names(trace: &Trace) -> Vec<String> {
    trace.spans().iter().map(|span| format!("{}{}", "-".repeat(span.depth()), span.name())).collect()
}

#[test]
fn a_root_on_demand_is_one_for_all_that_is_begun_below_it() {
    let (root, _serving) = Context::background().start_trace("server");
    let server = with_requests(&root);
    let (one, other) = (request(&server), request(&server));
    let below = one.with_name("below").without_cancel();
    let (query, _query) = below.start_trace("query");
    drop(query.start_trace("row"));
    drop(one.start_trace("render"));
    assert_eq!(names(&one.trace().expect("it has one now")), ["request", "-query", "--row", "-render"]);
    assert_eq!(query.trace().expect("its own").name(), "query");
    assert_eq!(names(&other.trace().expect("begun by this look")), ["request"]);
    assert_eq!(names(&root.trace().expect("begun above")), ["server"], "it shows none of them");
}

#[test]
fn what_no_root_is_given_for_is_one_and_a_trace_in_between_is_nearer() {
    let server = with_requests(&Context::background());
    assert!(server.trace().is_none());
    let (ctx, guard) = server.start_trace("alone");
    drop(ctx.start_trace("below"));
    assert_eq!(names(guard.trace()), ["alone", "-below"]);

    let (nearer, own) = request(&server).start_root_trace("own", 10);
    drop(nearer.start_trace("call"));
    assert_eq!(names(own.trace()), ["own", "-call"]);
    assert!(nearer.value::<Request>().expect("it is a value").root.get().is_none(), "nobody needed it");
}

#[test]
fn a_root_since_then_took_the_time_from_then_on() {
    let (root, time) = manual();
    let arrived = root.clock().now();
    time.advance(2 * SEC);
    let (ctx, request) = root.start_root_trace_at("request", 10, arrived, std::panic::Location::caller());
    let (_ctx, query) = ctx.start_trace("query");
    time.advance(SEC);
    drop(query);
    assert_eq!(request.end().to_string(), "- request: 3.0s\n  - query: 1.0s");
}

// ===== no user code under a lock =====

#[test]
fn a_cause_and_a_writer_may_use_the_trace_that_they_are_printed_with() {
    /// Looks at the trace, and begins another, while it is printed and dropped.
    #[derive(Debug)]
    struct Nosy(Arc<Mutex<Option<Context>>>);
    impl Nosy {
        fn look(&self) {
            let ctx = self.0.lock().expect("no panic").clone();
            if let Some(ctx) = ctx {
                drop(ctx.start_trace("nosy"));
                assert!(!ctx.trace().expect("it carries one").spans().is_empty());
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
    struct NosyWriter(Trace, String);
    impl fmt::Write for NosyWriter {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            assert!(!self.0.children().is_empty());
            self.1.write_str(text)
        }
    }

    within("a cause that looks", || {
        let (root, _time) = manual();
        let place = Arc::new(Mutex::new(None));
        let (ctx, guard) = root.start_trace("main");
        *place.lock().expect("no panic") = Some(ctx.clone());
        let (below, cancel) = ctx.with_cancel();
        let (_below, child) = below.start_trace("child");
        cancel.cancel_with(Nosy(Arc::clone(&place)));
        drop(child);
        let mut writer = NosyWriter(guard.trace().clone(), String::new());
        write!(writer, "{}", guard.trace()).expect("it is written");
        assert_eq!(writer.1, "- main (running): 0.0ns\n  - child (canceled: nosy): 0.0ns");
        assert_eq!(guard.trace().children().len(), 2);
        // The tree holds the cause, and the cause the tree's context: the test takes that apart itself.
        *place.lock().expect("no panic") = None;
    });
}

#[test]
fn a_cause_that_panics_when_printed_breaks_nothing() {
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
    let (ctx, guard) = ctx.start_trace("main");
    cancel.cancel_with(Bad);
    let trace = guard.end();
    assert!(catch_unwind(AssertUnwindSafe(|| trace.to_string())).is_err());
    drop(ctx.start_trace("after"));
    assert_eq!(trace.children().len(), 1);
}

// ===== depth =====

#[test]
fn a_million_levels_are_begun_ended_printed_and_dropped_on_a_small_stack() {
    const LEVELS: usize = if cfg!(miri) { 1_000 } else { 1_000_000 };
    let work = || {
        // A manual clock, and an end to inherit, are looked for on the way up, by each context anew. So it is the system's
        // clock, and each level is cut off from the ends above: else it were a million times a million steps.
        let (mut ctx, main) = Context::background().start_root_trace("0", LEVELS);
        for _ in 0..LEVELS {
            // Each guard is dropped here; the context of an ended trace still carries it.
            (ctx, _) = ctx.without_cancel().start_trace("f");
        }
        let tree = main.end();
        assert_eq!(tree.dropped(), 0);
        let spans = tree.spans();
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

// ===== the bound =====

#[test]
fn a_root_that_lives_long_stops_to_grow_and_counts() {
    let (root, time) = manual();
    let (ctx, main) = root.start_trace("server");
    for n in 0..Trace::LIMIT + 5 {
        drop(ctx.start_trace(format!("request {n}")));
    }
    let tree = main.trace().clone();
    assert_eq!((tree.children().len(), tree.dropped()), (Trace::LIMIT, 5));

    // What is not recorded can still be measured, and what is below it counts at the same root.
    let (beyond, guard) = ctx.with_timeout(SEC).start_trace("beyond");
    drop(beyond.start_trace("below"));
    time.advance(SEC);
    assert_eq!(beyond.trace().expect("the nearest that is recorded").name(), "server");
    assert_eq!(guard.end().to_string(), "- beyond (deadline exceeded): 1.0s");
    assert_eq!((tree.children().len(), tree.dropped()), (Trace::LIMIT, 7));
    let text = tree.to_string();
    assert!(text.ends_with("\n(7 more not recorded)"), "{text}");
    assert!(!tree.children()[0].to_string().contains("recorded"), "only the root says it");
}

#[test]
fn limits_at_both_ends() {
    let (root, _time) = manual();
    let (ctx, none) = root.start_root_trace("none", 0);
    drop(ctx.start_trace("child"));
    assert_eq!(none.end().to_string(), "- none: 0.0ns\n(1 more not recorded)");

    let (ctx, all) = root.start_root_trace("all", usize::MAX);
    drop(ctx.start_trace("child"));
    assert_eq!(all.end().to_string(), "- all: 0.0ns\n  - child: 0.0ns");
}

#[test]
fn a_root_of_its_own_does_not_show_above() {
    let (root, _time) = manual();
    let (server, serving) = root.start_trace("server");
    let (request, handling) = server.start_root_trace("request", 10);
    drop(request.start_trace("query"));
    assert_eq!(handling.end().to_string(), "- request: 0.0ns\n  - query: 0.0ns");
    assert_eq!(serving.end().to_string(), "- server: 0.0ns");
}

#[test]
fn a_tree_is_freed_with_the_last_of_its_contexts_and_traces() {
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
    let (main_ctx, main) = root.start_trace("main");
    {
        let (ctx, cancel) = main_ctx.with_cancel();
        let (_ctx, _child) = ctx.start_trace("child");
        cancel.cancel_with(Tracked(Arc::clone(&count)));
    }
    drop(main);
    assert_eq!(Arc::strong_count(&count), 2, "the tree keeps the mark of its child");
    let trace = main_ctx.trace();
    drop(main_ctx);
    assert_eq!(Arc::strong_count(&count), 2);
    drop(trace);
    assert_eq!(Arc::strong_count(&count), 1);
}
