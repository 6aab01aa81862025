//! Tests the inspector with the server's layer: the JSON of requests, from their headers to their cancel.

#[path = "common/inspected.rs"]
mod inspected;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::get;
use futures::FutureExt as _;
use http::{Request, StatusCode};
use ripcord::Context;
use ripcord_http::inspector::Inspector;
use ripcord_http::server::{ContextLayer, Ctx, matched_path};
use serde_json::json;
use tower::ServiceExt as _;

use inspected::{SECOND, Server, read, request};

#[tokio::test]
async fn request_is_shown_while_live_and_then_among_the_finished() {
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
async fn peer_that_cancels_is_the_cause_and_is_shown() {
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
async fn clamped_deadline_names_the_header() {
    let server = Server::new(|layer| layer);
    let request = Request::get("/report/today").header("grpc-timeout", "1M").body(Body::empty()).unwrap();
    let mut answer = Box::pin(server.ask(request));
    assert!((&mut answer).now_or_never().is_none());
    server.time.advance(SECOND / 2);
    let shown = server.shown().await;
    let deadline = json!({"left_ms": 4500.0, "of_ms": 5000.0, "source": "clamped", "header": "grpc-timeout"});
    assert_eq!(shown["live"][0]["deadline"], deadline);
    assert_eq!(
        (&shown["counters"]["deadlines_received"], &shown["counters"]["deadlines_clamped"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn detached_work_is_shown_after_a_disconnect_until_it_ends() {
    let server = Server::new(|layer| layer);
    let request = Request::get("/pay").body(Body::empty()).unwrap();
    // One poll runs the handler to its wait. The drop of the response is the disconnect.
    assert!(Box::pin(server.ask(request)).now_or_never().is_none());
    let shown = server.shown().await;
    assert_eq!((&shown["counters"]["detached"], &shown["counters"]["disconnected"]), (&json!(1), &json!(1)));
    assert_eq!((&shown["summary"]["live"], &shown["summary"]["ended_but_held"]), (&json!(1), &json!(1)));
    let live = &shown["live"][0];
    assert_eq!((&live["name"], &live["state"], &live["status"]), (&json!("/pay"), &json!("ended"), &json!(null)));

    // The task starts to wait, its time passes, and it finishes.
    tokio::task::yield_now().await;
    server.time.advance(SECOND);
    tokio::task::yield_now().await;
    let shown = server.shown().await;
    assert_eq!((&shown["counters"]["detached"], &shown["summary"]["live"]), (&json!(0), &json!(0)));
    assert_eq!(
        (&shown["finished"][0]["kept"][0]["name"], &shown["finished"][0]["kept"][0]["held_ms"]),
        (&json!("/pay"), &json!(1000.0))
    );
}

#[tokio::test]
async fn handler_that_blocks_its_thread_is_shown() {
    let inspector = Inspector::new();
    let layer = ContextLayer::new(&Context::background()).name(matched_path).inspector(&inspector);
    let seen = Arc::new(Mutex::new(None));
    // The handler takes a snapshot during its only poll.
    let blocks = {
        let (inspector, seen) = (inspector.clone(), Arc::clone(&seen));
        move || {
            *seen.lock().unwrap() = Some(shown_by(&inspector));
            std::future::ready("done")
        }
    };
    let app: Router = Router::new().route("/blocks", get(blocks)).layer(layer);
    let answer = app.oneshot(Request::get("/blocks").body(Body::empty()).unwrap()).await.unwrap();
    read(answer).await;
    let seen = seen.lock().unwrap().take().expect("it was called");
    assert_eq!((&seen["live"][0]["name"], &seen["live"][0]["state"]), (&json!("/blocks"), &json!("running")));
    let shown = shown_by(&inspector);
    assert_eq!((&shown["summary"]["live"], &shown["summary"]["finished"]), (&json!(0), &json!(1)));
}

/// Requests the JSON without waiting.
fn shown_by(inspector: &Inspector) -> serde_json::Value {
    let app: Router = inspector.router();
    let answer = app.oneshot(of_this_machine("/json")).now_or_never().expect("nothing to wait for").unwrap();
    let text = read(answer).now_or_never().expect("it is there");
    serde_json::from_str(&text).unwrap()
}

fn of_this_machine(path: &str) -> Request<Body> {
    let mut request = Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 4000))));
    request
}

#[tokio::test]
async fn entry_is_below_the_nearest_request_or_watched_work() {
    let inspector = Inspector::new();
    let server = inspector.watch(&Context::background().with_name("server"));
    let layer = ContextLayer::new(&server).name(matched_path).inspector(&inspector);
    let jobs = Arc::new(Mutex::new(Vec::new()));
    let import = {
        let (inspector, jobs) = (inspector.clone(), Arc::clone(&jobs));
        move |Ctx(ctx): Ctx| {
            let job = inspector.watch(&ctx.without_cancel().with_name("job"));
            let part = inspector.watch(&job.with_name("part"));
            drop((ctx.start_span("of the request"), job.start_span("of the job")));
            jobs.lock().unwrap().extend([job, part]);
            std::future::ready("started")
        }
    };
    let app: Router = Router::new().route("/import", get(import)).layer(layer);
    read(app.oneshot(Request::get("/import").body(Body::empty()).unwrap()).await.unwrap()).await;

    let shown = shown_by(&inspector);
    let find = |name: &str| shown["live"].as_array().unwrap().iter().find(|live| live["name"] == name).unwrap();
    assert_eq!(find("server")["parent"], json!(null));
    for (below, above) in [("/import", "server"), ("job", "/import"), ("part", "job")] {
        assert_eq!(find(below)["parent"], find(above)["id"], "{below}");
    }
    for (name, call) in [("/import", "of the request"), ("job", "of the job")] {
        let spans: Vec<_> = find(name)["spans"].as_array().unwrap().iter().map(|span| &span["name"]).collect();
        assert_eq!(spans, [name, call]);
    }
    jobs.lock().unwrap().clear();
    drop(server);
    assert_eq!(shown_by(&inspector)["live"], json!([]));
}

#[tokio::test]
async fn counters_of_several_layers_are_summed_and_each_layer_counts_once() {
    let inspector = Inspector::new();
    let server = Context::background();
    let one = ContextLayer::new(&server).inspector(&inspector).inspector(&inspector);
    let other = ContextLayer::new(&server).inspector(&inspector);
    let app: Router = Router::new()
        .route("/one", get(async || "").layer(one.clone()))
        .route("/same", get(async || "").layer(one.timeout(SECOND)))
        .route("/other", get(async || "").layer(other));
    for path in ["/one", "/same", "/other"] {
        read(app.clone().oneshot(of_this_machine(path)).await.unwrap()).await;
    }
    let shown = shown_by(&inspector);
    assert_eq!((&shown["counters"]["requests"], &shown["summary"]["finished"]), (&json!(3), &json!(3)));
}

#[tokio::test]
async fn counters_of_the_layer_are_shown() {
    let server = Server::new(|layer| layer);
    let with_deadline = |milliseconds: &str| {
        let request = Request::get("/report/today").header("connect-timeout-ms", milliseconds);
        server.ask(request.body(Body::empty()).unwrap())
    };
    // An accepted deadline, a deadline above the server's limit, and a malformed deadline. These clients disconnect.
    for milliseconds in ["3000", "9000", "soon"] {
        assert!(Box::pin(with_deadline(milliseconds)).now_or_never().is_none());
    }
    // A deadline without time left, and a deadline that passes.
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
async fn json_fields_match_the_readme() {
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
