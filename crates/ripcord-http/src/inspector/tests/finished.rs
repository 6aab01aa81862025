//! Tests finished entries.

use std::time::Duration;

use serde_json::json;

use super::super::Inspector;
use super::{Request, SECOND, json, manual, names};

#[test]
fn finished_request_is_in_the_bucket_of_its_latency() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    for (latency, name) in [(0, "0 ms"), (1, "1 ms"), (9, "9 ms"), (249, "249 ms"), (5000, "5 s"), (60_000, "60 s")] {
        let request = Request::start_with(&inspector, &server, name, None, crate::server::DeadlineSource::None);
        time.advance(Duration::from_millis(latency));
        drop(request.answer(200));
    }
    let snapshot = json(&inspector);
    let buckets = snapshot["finished"].as_array().unwrap();
    let bounds: Vec<_> = buckets.iter().map(|bucket| (bucket["from_ms"].as_u64(), bucket["to_ms"].as_u64())).collect();
    assert_eq!(bounds.first(), Some(&(Some(0), Some(1))));
    assert_eq!(bounds.last(), Some(&(Some(5000), None)));
    assert!(bounds.windows(2).all(|two| two[0].1 == two[1].0), "{bounds:?}");
    let kept: Vec<_> = buckets.iter().map(|bucket| names(&bucket["kept"])).collect();
    assert_eq!(kept[0], ["0 ms"]);
    assert_eq!(kept[1], ["9 ms", "1 ms"]);
    assert_eq!(kept[4], ["249 ms"]);
    assert_eq!(kept[8], ["60 s", "5 s"]);
    assert_eq!(names(&snapshot["cut_short"]), [""; 0]);
}

#[test]
fn full_bucket_keeps_the_latest_and_counts_all() {
    let (server, time) = manual();
    let inspector = Inspector::builder().max_kept(3).build().expect("valid settings");
    for name in ["a", "b", "c", "d", "e"] {
        let request = Request::start(&inspector, &server, name);
        time.advance(Duration::from_millis(20));
        drop(request.answer(200));
    }
    let bucket = json(&inspector)["finished"][2].clone();
    assert_eq!(bucket["count"], 5);
    assert_eq!(names(&bucket["kept"]), ["e", "d", "c"]);
    assert_eq!((&bucket["kept"][2]["ago_ms"], &bucket["kept"][2]["took_ms"]), (&json!(40.0), &json!(20.0)));
}

#[test]
fn max_kept_of_zero_keeps_none() {
    let (server, _time) = manual();
    let inspector = Inspector::builder().max_kept(0).build().expect("valid settings");
    drop(Request::start(&inspector, &server, "a").answer(500));
    let snapshot = json(&inspector);
    assert_eq!((&snapshot["finished"][0]["count"], &snapshot["finished"][0]["kept"]), (&json!(1), &json!([])));
    assert_eq!(snapshot["cut_short"], json!([]));
}

#[test]
fn failed_requests_are_kept_apart() {
    let (server, time) = manual();
    let inspector = Inspector::new();
    drop(Request::start(&inspector, &server, "fine").answer(200));
    drop(Request::start(&inspector, &server, "not found").answer(404));
    drop(Request::start(&inspector, &server, "failed").answer(502));
    let canceled = Request::start(&inspector, &server, "canceled");
    canceled.cancel.cancel_with("client disconnected");
    drop(canceled);
    let late = Request::start(&inspector, &server, "late");
    time.advance(5 * SECOND);
    drop(late.answer(504));

    let snapshot = json(&inspector);
    assert_eq!(names(&snapshot["cut_short"]), ["late", "canceled", "failed"]);
    let late = &snapshot["cut_short"][0];
    assert_eq!((&late["state"], &late["status"]), (&json!("deadline_exceeded"), &json!(504)));
    assert_eq!(late["deadline"]["left_ms"], 0.0);
    assert_eq!(snapshot["cut_short"][1]["end"]["causes"], json!(["client disconnected"]));
    // If the context ends after the answer, this end is not an end of the request.
    assert_eq!(snapshot["finished"][0]["kept"][3]["end"], json!(null));
    assert_eq!(snapshot["finished"][0]["kept"][3]["state"], "ended");
}

#[test]
fn finished_request_keeps_its_calls_up_to_the_limit() {
    let (server, time) = manual();
    let inspector = Inspector::builder().max_calls(100).build().expect("valid settings");
    let request = Request::start(&inspector, &server, "GET /search");
    let (_, call) = request.ctx.with_timeout(Duration::from_millis(20)).start_span("backend");
    time.advance(Duration::from_millis(30));
    drop(call);
    for _ in 0..200 {
        drop(request.ctx.start_span("more"));
    }
    drop(request.answer(200));

    let over = json(&inspector)["finished"][2]["kept"][0].clone();
    assert_eq!((over["spans"].as_array().unwrap().len(), &over["spans_not_shown"]), (101, &json!(101)));
    let backend = &over["spans"][1];
    assert_eq!((&backend["state"], &backend["end"]["timeout_ms"]), (&json!("deadline_exceeded"), &json!(20.0)));
    // The snapshots of the live stream contain no calls of finished requests. The page requests these calls entry by entry.
    let live = serde_json::to_value(inspector.shared.snapshot(false)).unwrap();
    assert_eq!(live["finished"][2]["kept"][0].get("spans"), None);
}
