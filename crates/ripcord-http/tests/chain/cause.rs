//! Tests the logs and spans of two services when A's client disconnects and A cancels its call to B.

use opentelemetry::trace::Status;
use ripcord_http::client::CauseLayer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::one_trace::{exporter, finished};
use super::*;

/// The lines of a service's log.
type Log = UnboundedReceiver<String>;

/// Returns a layer that trusts its clients, and its log.
fn logged(name: &str) -> (ContextLayer, Log) {
    let (lines, log) = unbounded_channel();
    let layer = ContextLayer::new(&Context::background().with_name(name.to_owned()))
        .trust(TrustPolicy::trusted())
        .name(matched_path)
        .tracing()
        .on_end(move |request| {
            let id = request.ctx.value::<ripcord_http::RequestId>().expect("every request has one");
            let _ = lines.send(format!("{id} {:?}: {request:#}", request.outcome));
        });
    (layer, log)
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move { ripcord_http::serve(listener, router).await });
    address.to_string()
}

/// Serves B. B's handler reports each request to `arrived` and works until its context ends.
async fn serve_b(layer: ContextLayer, arrived: UnboundedSender<()>) -> String {
    let handler = async move |Ctx(ctx): Ctx| {
        arrived.send(()).expect("the test waits");
        ctx.done().await;
    };
    serve(Router::new().route("/b", get(handler)).layer(layer)).await
}

/// Sends a request to A, and disconnects when B has received A's request.
async fn ask_and_leave(a: &str, mut arrived: UnboundedReceiver<()>) {
    let mut client = TcpStream::connect(a).await.expect("A listens");
    client.write_all(b"GET /a HTTP/1.1\r\nhost: a\r\nx-request-id: req-17\r\n\r\n").await.expect("A reads");
    arrived.recv().await.expect("B is asked");
    drop(client);
}

#[tokio::test]
async fn without_a_cause_layer_request_id_and_trace_connect_b_to_the_cause() {
    let (exporter, _listening) = exporter();
    let ((layer_a, mut log_a), (layer_b, mut log_b)) = (logged("a"), logged("b"));
    let (arrived, arrives) = unbounded_channel();
    let b = serve_b(layer_b, arrived).await;
    let handler = async move |Ctx(ctx): Ctx| call(&ctx, &format!("http://{b}/b")).await.unwrap_or_default();
    let a = serve(Router::new().route("/a", get(handler)).layer(layer_a)).await;
    ask_and_leave(&a, arrives).await;

    let (a, b) = (log_a.recv().await.expect("a line"), log_b.recv().await.expect("a line"));
    assert!(a.starts_with("req-17 ClientDisconnected: ") && a.contains(" in /a,"), "{a}");
    assert!(b.starts_with("req-17 ClientDisconnected: ") && b.contains("client disconnected"), "{b}");

    // The span of A's call is the parent of B's request. It also records the reason of the cancel.
    let spans = finished(&exporter, 3).await;
    let find = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:#?}"));
    let (call, request) = (find("GET"), find("GET /b"));
    assert_eq!(request.parent_span_id, call.span_context.span_id());
    let attribute =
        |key: &str| call.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string());
    assert_eq!(attribute("ripcord.end.cause").as_deref(), Some("client disconnected"));
    assert_eq!(attribute("ripcord.end.name").as_deref(), Some("/a"));
    assert_eq!(attribute("ripcord.request_id").as_deref(), Some("req-17"));
    assert_eq!(call.status, Status::Unset);
}

#[tokio::test]
async fn cause_layer_makes_b_log_the_disconnect_of_as_client() {
    let ((layer_a, mut log_a), (layer_b, mut log_b)) = (logged("a"), logged("b"));
    let (arrived, arrives) = unbounded_channel();
    let b = serve_b(layer_b.remote_cancel(true), arrived).await;
    let (client, cause) = (reqwest::Client::new(), CauseLayer::new(|notice| drop(tokio::spawn(notice))));
    let handler = async move |Ctx(ctx): Ctx| {
        let _ = client.get(format!("http://{b}/b")).context(&ctx).cause_layer(&cause).send().await;
    };
    let a = serve(Router::new().route("/a", get(handler)).layer(layer_a)).await;
    ask_and_leave(&a, arrives).await;

    let (a, b) = (log_a.recv().await.expect("a line"), log_b.recv().await.expect("a line"));
    assert!(a.starts_with("req-17 ClientDisconnected: "), "{a}");
    assert!(b.starts_with("req-17 ClientDisconnected: "), "{b}");
    assert!(b.contains("context canceled: client canceled: /a: client disconnected ("), "{b}");
}
