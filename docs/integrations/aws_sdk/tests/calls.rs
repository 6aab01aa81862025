//! Calls to a fake S3 on the loopback interface.

use std::time::Duration;

use aws_sdk_s3::{
    Client,
    config::{Config, Credentials, Region, retry::RetryConfig},
};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use recipe_aws_sdk::{Error, Under, read};
use ripcord::Context;
use ripcord_http::{RequestId, trace_context::Traceparent};
use ripcord_policy::Retry;
use tokio::sync::mpsc;

/// The time after which the fake answers a slow request. If a context does not end its call, the call succeeds then.
const PATIENCE: Duration = Duration::from_secs(30);

/// The headers of the requests that the fake has received.
type Requests = mpsc::UnboundedReceiver<HeaderMap>;

/// Starts a fake of S3. Returns a client of it.
async fn s3() -> (Client, Requests) {
    let (arrived, requests) = mpsc::unbounded_channel();
    let router = Router::new().route("/bucket/{key}", get(object)).with_state(arrived);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    let config = Config::builder()
        .endpoint_url(url)
        .force_path_style(true)
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(1)))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    (Client::from_conf(config), requests)
}

async fn object(
    State(arrived): State<mpsc::UnboundedSender<HeaderMap>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Response {
    arrived.send(headers).unwrap();
    match &*key {
        "report" => "contents".into_response(),
        "slow" => {
            tokio::time::sleep(PATIENCE).await;
            "late contents".into_response()
        }
        // The head comes at once.
        "slow-body" => {
            let body = stream::once(async {
                tokio::time::sleep(PATIENCE).await;
                Ok::<_, std::io::Error>("contents")
            });
            Response::builder().header("content-length", "8").body(Body::from_stream(body)).unwrap()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Returns the number of requests that the fake has received since the last time.
fn count(requests: &mut Requests) -> usize {
    std::iter::from_fn(|| requests.try_recv().ok()).count()
}

#[tokio::test]
async fn object_is_read_and_the_request_has_the_id_and_the_trace() {
    let (s3, mut requests) = s3().await;
    let id = RequestId::generate();
    let trace = Traceparent::start(true);
    let ctx = Context::background().with_value(id.clone()).with_value(trace);
    assert_eq!(read(&ctx, &s3, "bucket", "report").await.unwrap(), b"contents");
    let headers = requests.recv().await.unwrap();
    assert_eq!(headers["x-request-id"], id.as_str());
    let sent = Traceparent::decode(headers["traceparent"].as_bytes()).unwrap();
    assert_eq!(sent.trace_id(), trace.trace_id());
}

#[tokio::test]
async fn deadline_ends_a_call_without_an_answer() {
    let (s3, _requests) = s3().await;
    let ctx = Context::background().with_timeout(Duration::from_millis(100));
    let Err(Error::Ended(end)) = read(&ctx, &s3, "bucket", "slow").await else { panic!("an end") };
    assert!(end.is_deadline_exceeded());
}

#[tokio::test]
async fn cancel_ends_the_read_of_a_body() {
    let (s3, mut requests) = s3().await;
    let (ctx, cancel) = Context::background().with_cancel();
    let canceling = async {
        requests.recv().await;
        cancel.cancel_with("the user has closed the window");
    };
    let (object, ()) = tokio::join!(read(&ctx, &s3, "bucket", "slow-body"), canceling);
    let Err(Error::Ended(end)) = object else { panic!("{object:?}") };
    assert_eq!(end.cause().unwrap().to_string(), "the user has closed the window");
}

#[tokio::test]
async fn attempts_inside_a_retry_do_not_multiply() {
    let (s3, mut requests) = s3().await;
    let ctx = Context::background();
    assert!(matches!(read(&ctx, &s3, "bucket", "broken").await, Err(Error::Call(_))));
    assert_eq!(count(&mut requests), 3); // the attempts of the SDK

    let twice = Retry::constant(Duration::ZERO).max_attempts(2).build().unwrap();
    let s3 = &s3;
    let failed = twice.run(&ctx, |ctx| async move { read(&ctx, s3, "bucket", "broken").await }).await;
    assert!(failed.is_err());
    assert_eq!(count(&mut requests), 2);
}

#[tokio::test]
async fn no_attempt_starts_after_the_end_of_the_context() {
    let (s3, mut requests) = s3().await;
    let (ctx, cancel) = Context::background().with_cancel();
    cancel.cancel();
    let call = s3.get_object().bucket("bucket").key("report").customize().interceptor(Under(ctx)).send();
    let error = call.await.unwrap_err();
    assert!(ripcord::Error::find_in(&error).unwrap().is_canceled());
    assert_eq!(count(&mut requests), 0);
}
