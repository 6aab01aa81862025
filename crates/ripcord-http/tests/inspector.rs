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
