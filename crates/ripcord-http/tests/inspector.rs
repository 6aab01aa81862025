//! The inspector behind the server's layer: what a program that reads the JSON sees of requests, from their headers to who
//! canceled them.

#[path = "common/inspected.rs"]
mod inspected;

use axum::body::Body;
use futures::FutureExt as _;
use http::{Request, StatusCode};
use serde_json::json;

use inspected::{SECOND, Server, read, request};

#[tokio::test]
async fn a_request_is_shown_from_its_beginning_until_it_is_over_and_among_the_latest_then() {
    let server = Server::new(|layer| layer);
    let mut answer = Box::pin(server.ask(request()));
    assert!((&mut answer).now_or_never().is_none());
    server.time.advance(SECOND / 4);

    let shown = server.shown().await;
    let live = &shown["live"][0];
    assert_eq!(live["name"], "/report/{day}", "the route, and never what is in the address: {shown:#}");
    assert!(!shown.to_string().contains("secret"));
    let deadline = json!({"left_ms": 2750.0, "of_ms": 3000.0, "source": "header", "header": "connect-timeout-ms"});
    assert_eq!((&live["state"], &live["age_ms"], &live["deadline"]), (&json!("running"), &json!(250.0), &deadline));
    let names: Vec<_> = live["spans"].as_array().unwrap().iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["/report/{day}", "query"]);

    server.time.advance(SECOND);
    assert_eq!(read(answer.await).await, "done");
    let shown = server.shown().await;
    assert_eq!(shown["live"], json!([]));
    assert_eq!(shown["summary"]["finished"], 1);
    assert_eq!(shown["cut_short"], json!([]));
}

#[tokio::test]
async fn who_cancels_it_is_its_cause_and_is_shown() {
    let server = Server::new(|layer| layer);
    let mut answer = Box::pin(server.ask(request()));
    assert!((&mut answer).now_or_never().is_none());
    let id = server.shown().await["live"][0]["id"].clone();
    let cancel = Request::post(format!("/debug/contexts/cancel/{id}")).body(Body::empty()).unwrap();
    assert_eq!(server.ask(cancel).await.status(), StatusCode::OK);

    let answer = answer.await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(answer);
    let shown = server.shown().await;
    assert_eq!(shown["summary"]["canceled_here"], 1);
    let end = &shown["cut_short"][0];
    assert_eq!((&end["state"], &end["status"]), (&json!("canceled"), &json!(503)));
    assert_eq!(end["end"]["causes"], json!(["canceled from the inspector by 127.0.0.1"]));
}

#[tokio::test]
async fn what_was_counted_is_shown() {
    let server = Server::new(|layer| layer);
    let with_deadline = |milliseconds: &str| {
        let request = Request::get("/report/today").header("connect-timeout-ms", milliseconds);
        server.ask(request.body(Body::empty()).unwrap())
    };
    // As it was asked for, more than there is, and not understood: clients that leave.
    for milliseconds in ["3000", "9000", "soon"] {
        assert!(Box::pin(with_deadline(milliseconds)).now_or_never().is_none());
    }
    // None to begin with, and some that runs out.
    assert_eq!(with_deadline("0").await.status(), StatusCode::GATEWAY_TIMEOUT);
    let mut late = Box::pin(with_deadline("10"));
    assert!((&mut late).now_or_never().is_none());
    server.time.advance(SECOND / 100);
    read(late.await).await;
    let bug = server.ask(Request::get("/bug").body(Body::empty()).unwrap()).await;
    assert_eq!(bug.status(), StatusCode::INTERNAL_SERVER_ERROR);
    read(bug).await;

    let shown = server.shown().await;
    let counters = json!({
        "requests": 6, "in_flight": 0, "deadlines_received": 4, "deadlines_clamped": 1, "expired_before_start": 1,
        "timed_out": 2, "canceled": 0, "disconnected": 3, "panicked": 1, "detached": 0,
    });
    for (name, count) in counters.as_object().unwrap() {
        assert_eq!(&shown["counters"][name], count, "{name}: {:#}", shown["counters"]);
    }
    let malformed = shown["counters"]["headers_malformed"].as_object().unwrap();
    assert!(malformed.iter().all(|(name, count)| *count == u64::from(name == "connect-timeout-ms")), "{malformed:?}");
    assert_eq!(shown["version"], 1);
    assert_eq!((&shown["cut_short"][0]["state"], &shown["cut_short"][0]["status"]), (&json!("panicked"), &json!(500)));
}

#[tokio::test]
async fn its_fields_are_those_that_the_readme_names() {
    let readme = include_str!("../README.md");
    let server = Server::new(|layer| layer);
    drop(Box::pin(server.ask(request())).now_or_never());
    let mut under_way = Box::pin(server.ask(request()));
    assert!((&mut under_way).now_or_never().is_none());
    let shown = server.shown().await;
    let names = |of: &serde_json::Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let objects = [&shown, &shown["summary"], &shown["counters"], &shown["live"][0], &shown["live"][0]["deadline"]];
    let over = [&shown["cut_short"][0], &shown["cut_short"][0]["end"], &shown["finished"][0]];
    for name in objects.into_iter().chain(over).flat_map(names) {
        assert!(readme.contains(&format!("`{name}`")), "{name}");
    }
}
