//! Tests the live stream.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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

/// Reads the next event without waiting. Returns `Ready(None)` at the end.
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
    let event = event.strip_prefix("retry: 250\n").unwrap_or(&event);
    let data = event.strip_prefix("data: ").and_then(|event| event.strip_suffix("\n\n")).expect("one event");
    assert!(!data.contains(['\r', '\n']));
    serde_json::from_str(data).expect("JSON")
}

#[test]
fn snapshot_is_sent_at_once_and_then_after_each_interval() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
    let _request = Request::start(&inspector, &server, "GET /\r\n\r\ndata: {}");
    let mut stream = pin!(stream(&inspector));
    assert_eq!(snapshot(next(&mut stream))["live"][0]["age_ms"], 0.0);
    assert_eq!(next(&mut stream), Poll::Pending);
    time.advance(HALF - Duration::from_nanos(1));
    assert_eq!(next(&mut stream), Poll::Pending);
    time.advance(Duration::from_nanos(1));
    assert_eq!(snapshot(next(&mut stream))["live"][0]["age_ms"], 500.0);
    assert_eq!(next(&mut stream), Poll::Pending);
    // A slow reader gets the current snapshot once.
    time.advance(10 * HALF);
    assert_eq!(snapshot(next(&mut stream))["live"][0]["age_ms"], 5500.0);
    assert_eq!(next(&mut stream), Poll::Pending);
}

#[test]
fn stream_without_changes_sends_only_comments() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
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
fn streams_due_at_the_same_time_get_the_same_snapshot() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
    let _first = Request::start(&inspector, &server, "first");
    let (mut one, mut other) = (stream(&inspector), stream(&inspector));
    let event = next(&mut one);
    let _second = Request::start(&inspector, &server, "second");
    assert_eq!(next(&mut other), event);
    time.advance(HALF);
    assert_eq!(snapshot(next(&mut other))["summary"]["live"], 2);
}

#[test]
fn stream_ends_with_its_context() {
    let (server, _time) = manual();
    let (stop, cancel) = server.with_cancel();
    let inspector = Inspector::builder().context(&stop).build().expect("valid settings");
    let mut open = stream(&inspector);
    assert!(next(&mut open).is_ready());
    assert_eq!(next(&mut open), Poll::Pending);
    cancel.cancel();
    assert_eq!(next(&mut open), Poll::Ready(None));
    assert_eq!(next(&mut stream(&inspector)), Poll::Ready(None));
}

#[test]
fn thirty_third_stream_is_refused_until_one_ends() {
    let inspector = Inspector::new();
    let watching: Vec<_> = (0..32).map(|_| stream(&inspector)).collect();
    assert!(EventStream::new(Arc::clone(&inspector.shared)).is_none());
    drop(watching);
    drop(stream(&inspector));
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn stream_ends_after_a_minute_and_tells_the_browser_to_reconnect() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
    let mut stream = stream(&inspector);
    let Poll::Ready(Some(first)) = next(&mut stream) else { panic!("the first event is due at once") };
    assert!(first.starts_with("retry: 250\ndata: {"), "{first}");
    time.advance(MINUTE - Duration::from_nanos(1));
    assert_ne!(next(&mut stream), Poll::Ready(None));
    time.advance(HALF);
    assert_eq!(next(&mut stream), Poll::Ready(None));
}

#[test]
fn unread_streams_hold_their_permits_for_a_minute_at_most() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
    // The system buffers the events, so the streams are polled for a while even if the peers do not read.
    let mut unread: Vec<_> = (0..32).map(|_| stream(&inspector)).collect();
    for _ in 0..59 {
        for stream in &mut unread {
            let _ = next(stream);
        }
        time.advance(Duration::from_secs(1));
    }
    assert!(EventStream::new(Arc::clone(&inspector.shared)).is_none(), "a minute has not passed");
    time.advance(Duration::from_secs(1));
    // From now on, the unread streams are not polled.
    let newcomers: Vec<_> = (0..32).map(|_| stream(&inspector)).collect();
    assert!(EventStream::new(Arc::clone(&inspector.shared)).is_none(), "the newcomers have their places");
    assert_eq!(next(&mut unread[0]), Poll::Ready(None));
    drop(unread);
    assert!(EventStream::new(Arc::clone(&inspector.shared)).is_none(), "the old streams give back nothing of others");
    drop(newcomers);
}

#[test]
fn nothing_is_rendered_while_no_stream_is_polled() {
    // No task or thread renders. While no stream is polled, the last rendered snapshot is unchanged.
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
    let mut stream = stream(&inspector);
    let _ = next(&mut stream);
    let rendered = |inspector: &Inspector| inspector.shared.latest.lock().when();
    let before = rendered(&inspector);
    let _request = Request::start(&inspector, &Context::background(), "GET /");
    time.advance(100 * HALF);
    assert_eq!(rendered(&inspector), before);
}

#[test]
fn changed_status_is_sent_although_nothing_is_in_flight() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
    let is_connected = Arc::new(AtomicBool::new(true));
    let shown = Arc::clone(&is_connected);
    inspector.show_status("limiter", move || if shown.load(Ordering::Relaxed) { "connected" } else { "local" });
    let mut stream = pin!(stream(&inspector));
    assert_eq!(snapshot(next(&mut stream))["statuses"][0]["text"], "connected");
    time.advance(HALF);
    assert_eq!(next(&mut stream), Poll::Pending, "nothing has changed");
    is_connected.store(false, Ordering::Relaxed);
    time.advance(HALF);
    assert_eq!(snapshot(next(&mut stream))["statuses"][0]["text"], "local");
}
