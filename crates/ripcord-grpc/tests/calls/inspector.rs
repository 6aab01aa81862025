//! Tests the gRPC calls in the inspector.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use futures::FutureExt as _;
use http::Request;
use http_body_util::BodyExt as _;
use ripcord_grpc::{ClientLayer, ServerLayer};
use ripcord_http::inspector::Inspector;
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};

use crate::common::{SECOND, client, delayed, echo_server, http_layer, manual};
use crate::generated::EchoRequest;

async fn shown(inspector: &Inspector) -> Value {
    let peer: SocketAddr = "127.0.0.1:4000".parse().expect("an address");
    let request = Request::get("/json").header("host", "localhost").extension(ConnectInfo(peer));
    let request = request.body(Body::empty()).expect("a request");
    let response = inspector.router::<()>().oneshot(request).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}

#[tokio::test]
async fn call_is_shown_with_its_method_its_deadline_and_its_tasks() {
    let (server, time) = manual();
    let inspector = Inspector::builder().context(&server).build().expect("valid settings");
    let layer = ServerLayer::new(http_layer(&server).inspector(&inspector));
    let mut client = client(ClientLayer::new(), layer.layer(echo_server()));
    let mut request = tonic::Request::new(EchoRequest { spawn: true, ..delayed("a", 2 * SECOND) });
    request.set_timeout(3 * SECOND);
    let mut call = Box::pin(client.unary(request));
    assert!((&mut call).now_or_never().is_none());
    // The spawned task starts to wait.
    tokio::task::yield_now().await;

    let page = shown(&inspector).await;
    let live = &page["live"][0];
    assert_eq!(live["name"], "/ripcord.test.v1.Echo/Unary", "{page:#}");
    let deadline = json!({"left_ms": 3000.0, "of_ms": 3000.0, "source": "header", "header": "grpc-timeout"});
    assert_eq!(live["deadline"], deadline);
    assert_eq!(live["tasks"].as_array().map(Vec::len), Some(1), "{live:#}");

    time.advance(2 * SECOND);
    call.await.expect("it is answered in time");
    let page = shown(&inspector).await;
    assert_eq!((&page["live"], &page["summary"]["finished"]), (&json!([]), &json!(1)));
}
