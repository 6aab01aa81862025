//! Calls to a fake API server on the loopback interface.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{WatchEvent, WatchParams},
};
use recipe_kube::{ended, under};
use ripcord::Context;
use ripcord_http::RequestId;
use tokio::sync::mpsc;

const SETTINGS: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","resourceVersion":"1"},"data":{"color":"blue"}}"#;

/// The time after which the fake answers a slow request. If a context does not end its call, the call succeeds then.
const PATIENCE: Duration = Duration::from_secs(30);

/// The headers of the requests that the fake has received.
type Requests = mpsc::UnboundedReceiver<HeaderMap>;

/// Starts a fake of the API server. Returns a client of it.
async fn kubernetes() -> (Client, Requests) {
    let (arrived, requests) = mpsc::unbounded_channel();
    let router = Router::new()
        .route("/api/v1/namespaces/default/configmaps", get(watch))
        .route("/api/v1/namespaces/default/configmaps/{name}", get(read))
        .with_state(arrived);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    (Client::try_from(Config::new(url.parse().unwrap())).unwrap(), requests)
}

async fn read(
    State(arrived): State<mpsc::UnboundedSender<HeaderMap>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    arrived.send(headers).unwrap();
    if name == "slow" {
        tokio::time::sleep(PATIENCE).await;
    }
    ([("content-type", "application/json")], SETTINGS).into_response()
}

/// Sends one event, and the end of the events much later.
async fn watch(uri: Uri) -> Response {
    assert!(uri.query().is_some_and(|query| query.contains("watch=true")));
    let event = format!("{{\"type\":\"ADDED\",\"object\":{SETTINGS}}}\n");
    let end = stream::once(tokio::time::sleep(PATIENCE)).filter_map(async |()| None);
    Body::from_stream(stream::iter([Ok::<_, std::io::Error>(event)]).chain(end)).into_response()
}

#[tokio::test]
async fn resource_is_read_and_the_request_has_the_id_and_the_time_left() {
    let (client, mut requests) = kubernetes().await;
    let ctx = Context::background().with_value(RequestId::generate()).with_timeout(Duration::from_secs(60));
    let settings = Api::<ConfigMap>::default_namespaced(under(&ctx, &client)).get("settings").await.unwrap();
    assert_eq!(settings.data.unwrap()["color"], "blue");
    let headers = requests.recv().await.unwrap();
    assert_eq!(headers["x-request-id"], ctx.value::<RequestId>().unwrap().as_str());
    assert!(headers.contains_key("x-request-timeout-ms"));
}

#[tokio::test]
async fn deadline_ends_a_call_without_an_answer() {
    let (client, _requests) = kubernetes().await;
    let ctx = Context::background().with_timeout(Duration::from_millis(100));
    let error = Api::<ConfigMap>::default_namespaced(under(&ctx, &client)).get("slow").await.unwrap_err();
    assert!(ended(&error).unwrap().is_deadline_exceeded());
}

#[tokio::test]
async fn cancel_ends_a_watch() {
    let (client, _requests) = kubernetes().await;
    let (ctx, cancel) = Context::background().with_cancel();
    let api = Api::<ConfigMap>::default_namespaced(under(&ctx, &client));
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    let event = events.next().await.unwrap().unwrap();
    assert!(matches!(event, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("settings")));
    cancel.cancel_with("shutting down");
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(ended(&error).unwrap().cause().unwrap().to_string(), "shutting down");
}
