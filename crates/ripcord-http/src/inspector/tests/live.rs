//! Tests live entries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ripcord::{Context, Value};
use serde_json::json;

use super::super::Inspector;
use super::{Request, SECOND, json, manual, names};
use crate::server::DeadlineSource;

#[test]
fn request_is_shown_with_its_time_left_and_the_source_of_its_deadline() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let clamped = DeadlineSource::Clamped("grpc-timeout");
    let request = Request::start_with(&inspector, &server, "GET /slow", Some(5 * SECOND), clamped);
    time.advance(2 * SECOND);

    let snapshot = json(&inspector);
    let live = &snapshot["live"][0];
    assert_eq!(live["name"], "GET /slow");
    assert_eq!(live["kind"], "request");
    assert_eq!(live["state"], "running");
    assert_eq!(live["age_ms"], 2000.0);
    assert_eq!(live["held_ms"], json!(null));
    assert_eq!(live["request_id"], "req-17");
    assert_eq!(live["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let deadline = json!({"left_ms": 3000.0, "of_ms": 5000.0, "source": "clamped", "header": "grpc-timeout"});
    assert_eq!(live["deadline"], deadline);
    assert_eq!(snapshot["summary"]["oldest_ms"], 2000.0);
    drop(request);
}

#[test]
fn every_deadline_source_has_a_name() {
    let (server, _time) = manual();
    let inspector = Inspector::new();
    let none = Request::start_with(&inspector, &server, "none", None, DeadlineSource::None);
    let local = Request::start_with(&inspector, &server, "local", Some(SECOND), DeadlineSource::Local);
    let header = DeadlineSource::Header("x-request-timeout-ms");
    let header = Request::start_with(&inspector, &server, "header", Some(SECOND), header);
    // The deadline of the server is also local, even if the route has no limit.
    let inherited = Request::start_with(&inspector, &server.with_timeout(SECOND), "above", None, DeadlineSource::None);

    let snapshot = json(&inspector);
    let of = |name: &str| {
        let live = snapshot["live"].as_array().unwrap().iter().find(|live| live["name"] == name);
        live.unwrap_or_else(|| panic!("{name} is not there"))["deadline"].clone()
    };
    assert_eq!(of("none"), json!(null));
    assert_eq!((&of("local")["source"], &of("local")["header"]), (&json!("local"), &json!(null)));
    assert_eq!((&of("header")["source"], &of("header")["header"]), (&json!("header"), &json!("x-request-timeout-ms")));
    assert_eq!(of("above")["source"], "local");
    drop((none, local, header, inherited));
}

#[test]
fn entry_is_live_until_its_last_context_is_dropped() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "GET /report");
    let spawned = request.ctx.with_name("writes a file").without_cancel();
    time.advance(SECOND);
    drop(request.answer(200));
    time.advance(2 * SECOND);

    let snapshot = json(&inspector);
    assert_eq!(names(&snapshot["live"]), ["GET /report"]);
    let live = &snapshot["live"][0];
    assert_eq!((&live["state"], &live["status"]), (&json!("ended"), &json!(200)));
    assert_eq!((&live["age_ms"], &live["held_ms"]), (&json!(3000.0), &json!(2000.0)));
    assert_eq!(live["end"], json!(null));
    assert_eq!(snapshot["summary"]["ended_but_held"], 1);

    drop(spawned);
    let snapshot = json(&inspector);
    assert_eq!(names(&snapshot["live"]), [""; 0]);
    assert_eq!(snapshot["summary"]["finished"], 1);
    let over = &snapshot["finished"][7]["kept"][0];
    assert_eq!((&over["took_ms"], &over["held_ms"]), (&json!(1000.0), &json!(2000.0)));
}

#[test]
fn canceled_work_that_continues_names_its_canceler() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "GET /stuck");
    time.advance(SECOND);
    let cause = std::io::Error::other(DiskFull);
    let line = line!() + 1;
    request.cancel.cancel_with(cause);
    time.advance(3 * SECOND);

    let snapshot = json(&inspector);
    let live = &snapshot["live"][0];
    assert_eq!((&live["state"], &live["held_ms"]), (&json!("canceled"), &json!(3000.0)));
    let end = &live["end"];
    assert_eq!(
        (&end["kind"], &end["origin"], &end["ago_ms"]),
        (&json!("canceled"), &json!("GET /stuck"), &json!(3000.0))
    );
    assert_eq!(end["causes"][0], "disk full");
    assert_eq!(end["canceler_dropped"], false);
    let location = end["location"].as_str().unwrap();
    assert!(location.contains("tests/live.rs") && location.contains(&format!(":{line}:")), "{location}");
    // The request was canceled, so a later answer does not change its state.
    let ctx = request.answer(503);
    assert_eq!(json(&inspector)["live"][0]["state"], "canceled");
    drop(ctx);
    assert_eq!(json(&inspector)["cut_short"][0]["end"]["causes"][0], "disk full");
}

#[test]
fn idle_timeout_is_shown_while_it_runs_and_after_it_ran_out() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let (ctx, idle) = server.with_name("stream").with_timeout(60 * SECOND).with_idle_timeout(3 * SECOND);
    let line = line!() - 1;
    let watched = inspector.watch(&ctx);
    time.advance(2 * SECOND);
    assert!(idle.reset());
    time.advance(2 * SECOND);

    let live = &json(&inspector)["live"][0];
    assert_eq!(live["state"], "running");
    assert!(live["chain"].as_str().unwrap().contains(".WithIdleTimeout(3s)"), "{live:#}");
    assert_eq!(live["deadline"]["left_ms"], 56000.0, "an idle timeout is no deadline");

    time.advance(5 * SECOND);
    let live = &json(&inspector)["live"][0];
    assert_eq!((&live["state"], &live["held_ms"]), (&json!("deadline_exceeded"), &json!(4000.0)));
    let end = &live["end"];
    assert_eq!((&end["is_idle_timeout"], &end["timeout_ms"]), (&json!(true), &json!(3000.0)));
    assert_eq!(end["origin"], "stream");
    assert!(end["location"].as_str().unwrap().contains(&format!("tests/live.rs:{line}:")), "{end:#}");
    drop(watched);
}

#[derive(Debug)]
struct DiskFull;

impl std::fmt::Display for DiskFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("disk full")
    }
}

impl std::error::Error for DiskFull {}

#[test]
fn chain_of_causes_is_shown_and_bounded() {
    #[derive(Debug)]
    struct Link(u32, Option<Box<Link>>);
    impl std::fmt::Display for Link {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "reason {}", self.0)
        }
    }
    impl std::error::Error for Link {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(self.1.as_deref()?)
        }
    }
    let (server, _time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "GET /");
    let chain = (0..100).rev().fold(None, |next, number| Some(Box::new(Link(number, next)))).unwrap();
    request.cancel.cancel_with(*chain);
    let causes = json(&inspector)["live"][0]["end"]["causes"].clone();
    assert_eq!(causes.as_array().unwrap().len(), 8);
    assert_eq!((&causes[0], &causes[7]), (&json!("reason 0"), &json!("reason 7")));
}

#[test]
fn expired_work_that_continues_shows_the_time_since_its_end() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "GET /stuck");
    time.advance(7 * SECOND);

    let live = json(&inspector)["live"][0].clone();
    assert_eq!((&live["state"], &live["held_ms"]), (&json!("deadline_exceeded"), &json!(2000.0)));
    assert_eq!((&live["end"]["timeout_ms"], &live["end"]["ago_ms"]), (&json!(5000.0), &json!(null)));
    assert_eq!(live["deadline"]["left_ms"], 0.0);
    drop(request);
}

#[test]
fn calls_are_shown_as_a_bounded_tree() {
    let (server, time) = manual();
    let inspector = Inspector::builder().max_calls(50).build().expect("valid settings");
    let request = Request::start(&inspector, &server, "GET /search");
    let (search, _search) = request.ctx.start_span("search");
    time.advance(SECOND / 4);
    let (_, query) = search.start_span("query");
    time.advance(SECOND / 2);
    drop(query);

    let live = json(&inspector)["live"][0].clone();
    let spans = live["spans"].as_array().unwrap();
    let lines: Vec<_> =
        spans.iter().map(|span| (span["depth"].as_u64(), span["name"].as_str(), &span["state"])).collect();
    let (running, ended) = (json!("running"), json!("ended"));
    assert_eq!(
        lines,
        [
            (Some(0), Some("GET /search"), &running),
            (Some(1), Some("search"), &running),
            (Some(2), Some("query"), &ended)
        ]
    );
    assert_eq!((&spans[2]["start_ms"], &spans[2]["took_ms"]), (&json!(250.0), &json!(500.0)));
    assert_eq!(live["spans_not_shown"], 0);

    for _ in 0..1000 {
        drop(search.start_span("more"));
    }
    let live = json(&inspector)["live"][0].clone();
    // A live entry shows the first 40 calls. 51 calls are recorded, and the other calls are counted.
    assert_eq!(live["spans"].as_array().unwrap().len(), 40);
    assert_eq!(live["spans_not_shown"], 1003 - 40);
}

#[test]
fn snapshot_prefers_ended_then_oldest_entries_and_counts_the_rest() {
    let (server, time) = manual();
    let inspector = Inspector::builder().max_shown(3).build().expect("valid settings");
    let mut requests = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        requests.push(Request::start_with(&inspector, &server, name, None, DeadlineSource::None));
        time.advance(SECOND);
    }
    requests[4].cancel.cancel();

    let snapshot = json(&inspector);
    assert_eq!(names(&snapshot["live"]), ["a", "b", "e"]);
    let summary = &snapshot["summary"];
    assert_eq!(
        (&summary["live"], &summary["not_shown"], &summary["ended_but_held"]),
        (&json!(5), &json!(2), &json!(1))
    );
    assert_eq!(summary["oldest_ms"], 5000.0);
}

#[test]
fn values_are_shown_by_show_and_never_by_content() {
    struct ApiKey(#[expect(dead_code, reason = "it must not be shown")] &'static str);
    impl Value for ApiKey {}
    struct Tenant(&'static str);
    impl Value for Tenant {
        fn show(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "tenant {}", self.0)
        }
    }
    let (server, _time) = manual();
    let inspector = Inspector::new();
    let server = server.with_value(ApiKey("s3cr3t")).with_value(Tenant("acme"));
    let _request = Request::start(&inspector, &server, "GET /");
    let text = json(&inspector).to_string();
    assert!(text.contains(".WithValue(ApiKey).WithValue(tenant acme)"), "{text}");
    assert!(!text.contains("s3cr3t"), "{text}");
}

#[test]
fn hostile_names_and_causes_are_escaped_and_cut() {
    let (server, _time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "</script><img src=x onerror=alert(1)>\r\ndata: {}\u{202e}");
    request.cancel.cancel_with("\0\u{1b}[31m".repeat(10_000));
    let text = serde_json::to_string(&inspector.shared.snapshot(true)).unwrap();
    assert!(!text.contains(['\r', '\n', '\0', '\u{1b}', '\u{202e}']), "{text}");
    let live = json(&inspector)["live"][0].clone();
    assert_eq!(live["name"], "</script><img src=x onerror=alert(1)>\\u{d}\\u{a}data: {}\\u{202e}");
    assert!(live["end"]["causes"][0].as_str().unwrap().len() < 10 * 400);
}

#[test]
fn watched_work_is_shown_below_its_parent() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let server = inspector.watch(&server);
    let request = Request::start(&inspector, &server.with_name("ignored"), "POST /import");
    let job = inspector.watch(&request.ctx.without_cancel().with_name("import"));
    time.advance(SECOND);

    let snapshot = json(&inspector);
    let live = snapshot["live"].as_array().unwrap();
    let find = |name: &str| live.iter().find(|live| live["name"] == name).unwrap();
    assert_eq!(find("serve")["parent"], json!(null));
    assert_eq!(find("POST /import")["parent"], find("serve")["id"]);
    assert_eq!(find("import")["parent"], find("POST /import")["id"]);
    assert_eq!(find("import")["kind"], "watched");

    drop(request.answer(202));
    drop(job);
    assert_eq!(names(&json(&inspector)["live"]), ["serve"]);
}

#[test]
fn dropped_canceler_is_distinguished_from_a_cancel() {
    let (server, _time) = manual();
    let inspector = Inspector::new();
    let (forgotten, cancel) = server.with_name("forgotten").with_cancel();
    let forgotten = inspector.watch(&forgotten);
    drop(cancel);
    let (canceled, cancel) = server.with_name("canceled").with_cancel();
    let canceled = inspector.watch(&canceled);
    cancel.cancel();
    let snapshot = json(&inspector);
    let dropped = |name: &str| {
        let live = snapshot["live"].as_array().unwrap().iter().find(|live| live["name"] == name).unwrap();
        assert_eq!(live["state"], "canceled");
        live["end"]["canceler_dropped"].clone()
    };
    assert_eq!((dropped("forgotten"), dropped("canceled")), (json!(true), json!(false)));
    drop((forgotten, canceled));
}

#[test]
fn call_that_begins_after_the_end_is_shown_below_it() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let request = Request::start(&inspector, &server, "GET /report");
    time.advance(SECOND);
    let ctx = request.answer(200);
    time.advance(SECOND);
    let (_, call) = ctx.start_span("writes a file");
    time.advance(SECOND);
    let live = json(&inspector)["live"][0].clone();
    let spans: Vec<_> = live["spans"].as_array().unwrap().iter().collect();
    assert_eq!((&spans[0]["state"], &spans[0]["took_ms"]), (&json!("ended"), &json!(1000.0)));
    assert_eq!(
        (&spans[1]["start_ms"], &spans[1]["took_ms"], &spans[1]["state"]),
        (&json!(2000.0), &json!(1000.0), &json!("running"))
    );
    drop((call, ctx));
    assert_eq!(json(&inspector)["finished"][7]["kept"][0]["spans"].as_array().unwrap().len(), 2);
}

#[test]
fn watched_work_ends_with_its_context() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    let job = inspector.watch(&server.with_name("import").with_timeout(SECOND));
    time.advance(3 * SECOND);
    assert_eq!(json(&inspector)["live"][0]["state"], "deadline_exceeded");
    drop(job);
    assert_eq!(names(&json(&inspector)["cut_short"]), ["import"]);
}

#[test]
fn deep_nesting_is_dropped_without_recursion() {
    // A recursive drop of this many levels would overflow the stack.
    let work = || {
        let inspector = Inspector::new();
        let mut ctx = Context::background();
        for _ in 0..5_000 {
            ctx = inspector.watch(&ctx.with_name("job"));
        }
        drop(ctx);
        let snapshot = json(&inspector);
        assert_eq!((&snapshot["summary"]["live"], &snapshot["summary"]["finished"]), (&json!(0), &json!(5_000)));
    };
    thread::Builder::new().stack_size(256 * 1024).spawn(work).unwrap().join().unwrap();
}

/// A context value that records its drop.
struct Resource(Arc<AtomicBool>);

impl Value for Resource {}

impl Drop for Resource {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn finished_request_holds_no_context() {
    let dropped = Arc::new(AtomicBool::new(false));
    let inspector = Inspector::new();
    let server = Context::background().with_value(Resource(Arc::clone(&dropped)));
    let request = Request::start(&inspector, &server, "GET /");
    drop(server);
    assert!(!dropped.load(Ordering::Relaxed));
    drop(request.answer(200));
    assert!(dropped.load(Ordering::Relaxed), "the inspector holds a context of a request that is over");
    assert_eq!(json(&inspector)["summary"]["finished"], 1);
}

#[test]
fn inspector_can_be_dropped_before_its_entries() {
    let dropped = Arc::new(AtomicBool::new(false));
    let inspector = Inspector::new();
    let job = inspector.watch(&Context::background().with_value(Resource(Arc::clone(&dropped))));
    drop(inspector);
    assert!(!job.is_done(), "the work ended with the inspector");
    assert!(!dropped.load(Ordering::Relaxed));
    drop(job);
    assert!(dropped.load(Ordering::Relaxed), "the inspector was dropped, and what it showed is kept");
}

#[test]
fn entries_of_many_threads_are_all_counted() {
    let inspector = Inspector::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let request = Request::start(&inspector, &Context::background(), "GET /");
                    let (_ctx, _span) = request.ctx.start_span("work");
                    drop(request.answer(200));
                }
            });
        }
        // Takes snapshots meanwhile.
        for _ in 0..50 {
            let summary = &json(&inspector)["summary"];
            assert!(summary["live"].as_u64().unwrap() <= 2000);
        }
    });
    let snapshot = json(&inspector);
    let summary = &snapshot["summary"];
    assert_eq!((&summary["live"], &summary["started"], &summary["finished"]), (&json!(0), &json!(2000), &json!(2000)));
    let by_bucket: u64 =
        snapshot["finished"].as_array().unwrap().iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum();
    assert_eq!(by_bucket, 2000);
}

#[test]
fn manual_clock_that_stands_still_shows_zero_time() {
    let (server, _time) = manual();
    let inspector = Inspector::new();
    let _request = Request::start_with(&inspector, &server, "GET /", Some(Duration::ZERO), DeadlineSource::Local);
    let live = json(&inspector)["live"][0].clone();
    assert_eq!((&live["state"], &live["age_ms"]), (&json!("deadline_exceeded"), &json!(0.0)));
    assert_eq!((&live["deadline"]["of_ms"], &live["deadline"]["left_ms"]), (&json!(0.0), &json!(0.0)));
}
