//! The live stream.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use ripcord::Context;
use serde_json::Value;

use super::super::Inspector;
use super::super::events::EventStream;
use super::{Request, manual};

const HALF: Duration = Duration::from_millis(500);

fn stream(inspector: &Inspector) -> EventStream {
    EventStream::new(Arc::clone(&inspector.shared)).expect("there is room")
}

/// What there is to be read without waiting: `Ready(None)` at the end.
fn next(stream: &mut EventStream) -> Poll<Option<String>> {
    match stream.frame().now_or_never() {
        None => Poll::Pending,
        Some(None) => Poll::Ready(None),
        Some(Some(frame)) => {
            let data = frame.expect("it never fails").into_data().expect("data");
            Poll::Ready(Some(String::from_utf8(data.to_vec()).expect("UTF-8")))
        }
    }
}

fn snapshot(event: Poll<Option<String>>) -> Value {
    let Poll::Ready(Some(event)) = event else { panic!("no event: {event:?}") };
    let data = event.strip_prefix("data: ").and_then(|event| event.strip_suffix("\n\n")).expect("one event");
    assert!(!data.contains(['\r', '\n']));
    serde_json::from_str(data).expect("JSON")
}

#[test]
fn a_snapshot_comes_at_once_and_then_after_each_interval() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build();
    let _request = Request::start(&inspector, &server, "GET /\r\n\r\ndata: {}");
    let mut stream = pin!(stream(&inspector));
    assert_eq!(snapshot(next(&mut stream))["live"][0]["age_ms"], 0.0);
    assert_eq!(next(&mut stream), Poll::Pending);
    time.advance(HALF - Duration::from_nanos(1));
    assert_eq!(next(&mut stream), Poll::Pending);
    time.advance(Duration::from_nanos(1));
    assert_eq!(snapshot(next(&mut stream))["live"][0]["age_ms"], 500.0);
    assert_eq!(next(&mut stream), Poll::Pending);
    // Whoever reads slowly gets what is so now, once.
    time.advance(10 * HALF);
    assert_eq!(snapshot(next(&mut stream))["live"][0]["age_ms"], 5500.0);
    assert_eq!(next(&mut stream), Poll::Pending);
}

#[test]
fn with_nothing_to_say_it_only_looks_now_and_then_whether_the_peer_is_there() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build();
    let mut stream = stream(&inspector);
    assert_eq!(snapshot(next(&mut stream))["summary"]["live"], 0);
    for _ in 0..19 {
        time.advance(HALF);
        assert_eq!(next(&mut stream), Poll::Pending);
    }
    time.advance(HALF);
    assert_eq!(next(&mut stream), Poll::Ready(Some(": nothing new\n\n".to_owned())));

    drop(Request::start(&inspector, &server, "GET /").answer(200));
    time.advance(HALF);
    assert_eq!(snapshot(next(&mut stream))["summary"]["finished"], 1);
    time.advance(HALF);
    assert_eq!(next(&mut stream), Poll::Pending);
}

#[test]
fn all_who_watch_at_the_same_time_get_the_same_snapshot() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build();
    let _first = Request::start(&inspector, &server, "first");
    let (mut one, mut other) = (stream(&inspector), stream(&inspector));
    let event = next(&mut one);
    let _second = Request::start(&inspector, &server, "second");
    assert_eq!(next(&mut other), event);
    time.advance(HALF);
    assert_eq!(snapshot(next(&mut other))["summary"]["live"], 2);
}

#[test]
fn it_ends_with_its_context() {
    let (server, _time) = manual();
    let (stop, cancel) = server.with_cancel();
    let inspector = Inspector::builder().context(&stop).build();
    let mut open = stream(&inspector);
    assert!(next(&mut open).is_ready());
    assert_eq!(next(&mut open), Poll::Pending);
    cancel.cancel();
    assert_eq!(next(&mut open), Poll::Ready(None));
    assert_eq!(next(&mut stream(&inspector)), Poll::Ready(None));
}

#[test]
fn so_many_may_watch_and_one_that_leaves_makes_room() {
    let inspector = Inspector::new();
    let watching: Vec<_> = (0..32).map(|_| stream(&inspector)).collect();
    assert!(EventStream::new(Arc::clone(&inspector.shared)).is_none());
    drop(watching);
    drop(stream(&inspector));
}

#[test]
fn who_never_reads_gives_its_place_to_whoever_wants_one() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build();
    let mut watching: Vec<_> = (0..32).map(|_| stream(&inspector)).collect();
    time.advance(Duration::from_secs(30));
    // All but the first have been reading.
    for reader in &mut watching[1..] {
        assert!(next(reader).is_ready());
    }
    let mut newcomer = stream(&inspector);
    assert!(next(&mut newcomer).is_ready());
    assert!(EventStream::new(Arc::clone(&inspector.shared)).is_none(), "the others keep theirs");
    assert_eq!(next(&mut watching[0]), Poll::Ready(None), "and this one ends");
    drop(watching.swap_remove(0));
    assert!(EventStream::new(Arc::clone(&inspector.shared)).is_none(), "its place has been given away");
}

#[test]
fn it_does_nothing_while_nobody_reads() {
    // No task and no thread renders anything: with no stream polled, the last rendered snapshot stays what it was.
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build();
    let mut stream = stream(&inspector);
    let _ = next(&mut stream);
    let rendered = |inspector: &Inspector| inspector.shared.latest.lock().when();
    let before = rendered(&inspector);
    let _request = Request::start(&inspector, &Context::background(), "GET /");
    time.advance(100 * HALF);
    assert_eq!(rendered(&inspector), before);
}
