//! Tests that the inspector of `ripcord-http` shows a command of `ripcord-process` in the tree of its request.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;

use axum::{Router, body::Body, extract::ConnectInfo, http::Request, routing::get};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use ripcord::Context;
use ripcord_http::{
    inspector::Inspector,
    server::{ContextLayer, Ctx},
};
use ripcord_process::Command;
use serde_json::Value;
use tower::ServiceExt as _;

/// Runs a command until the request ends.
async fn sleep(Ctx(ctx): Ctx) -> &'static str {
    match Command::new("sleep").arg("60").status(&ctx).await {
        Ok(_) => "it has exited",
        Err(_) => "it was ended",
    }
}

async fn shown(inspector: &Inspector) -> Value {
    let peer: SocketAddr = "127.0.0.1:4000".parse().expect("an address");
    let request = Request::get("/json").header("host", "localhost").extension(ConnectInfo(peer));
    let request = request.body(Body::empty()).expect("a request");
    let response = inspector.router::<()>().oneshot(request).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}

#[tokio::test]
async fn running_command_is_shown_below_its_request() {
    let server = Context::background();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
    let app = Router::new().route("/", get(sleep)).layer(ContextLayer::new(&server).inspector(&inspector));
    let request = Request::get("/").body(Body::empty()).expect("a request");
    let mut answer = Box::pin(app.oneshot(request));
    assert!((&mut answer).now_or_never().is_none(), "the command runs");

    let page = shown(&inspector).await;
    let spans = page["live"][0]["spans"].as_array().expect("the request has spans");
    let command = spans.iter().find(|span| span["name"] == "sleep");
    assert!(command.is_some(), "{page:#}");
    // The command is killed.
    drop(answer);
}
