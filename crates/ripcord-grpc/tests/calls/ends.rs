//! Tests how calls end, and the data that both sides get about the end.

use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use http::{Request, Response};
use ripcord::Context;
use ripcord_grpc::tonic::{RequestExt as _, ResultExt as _, StatusExt as _};
use ripcord_grpc::{ClientLayer, Code, Error, ServerLayer, Status, timeout};
use ripcord_http::server::{ContextLayer, RequestOutcome};
use ripcord_http::{RemoteCause, TrustPolicy};
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};

use crate::common::{
    SECOND, UNARY, client, delayed, echo, echo_server, http_layer, manual, request, send, with_header,
};
use crate::generated::EchoRequest;
use crate::generated::echo_client::EchoClient;

/// Records the code and the outcome of every call.
fn noted(http: ContextLayer) -> (ServerLayer, impl Fn() -> Vec<(Option<Code>, RequestOutcome)>) {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&ends);
    let layer = ServerLayer::new(http).on_end(move |call| {
        notes.lock().unwrap().push((call.code, call.request.outcome.clone()));
    });
    (layer, move || std::mem::take(&mut *ends.lock().unwrap()))
}

#[tokio::test]
async fn handler_and_layer_answer_the_end_of_the_context_alike() {
    let mut answers = Vec::new();
    for is_handlers in [true, false] {
        let (server, time) = manual();
        let (layer, ends) = noted(http_layer(&server).timeout(SECOND));
        let handler = move |ctx: Context| async move {
            if !is_handlers {
                std::future::pending::<()>().await;
            }
            ctx.sleep(60 * SECOND).await.or_status()
        };
        let mut call = Box::pin(send(&layer, handler, request(UNARY)));
        assert!((&mut call).now_or_never().is_none());
        time.advance(SECOND);
        let answer = call.await;
        assert!(answer.is_trailers_only());
        assert_eq!(ends(), [(Some(Code::DeadlineExceeded), RequestOutcome::DeadlineExceeded)]);
        assert_eq!(answer.head.get_all(RemoteCause::HEADER).into_iter().count(), 1);
        answers.push(Status::read(&answer.head).expect("there is one"));
    }
    assert_eq!(answers[0], answers[1]);
    let cause = "peer: /ripcord.test.v1.Echo/Unary: context deadline exceeded: the server's limit";
    assert_eq!(answers[0].remote_cause().expect("the client is trusted").to_string(), cause);
}

#[tokio::test]
async fn only_a_trusted_client_learns_the_cause_in_head_and_trailers() {
    for (trust, is_told) in [(TrustPolicy::trusted(), true), (TrustPolicy::untrusted(), false)] {
        let (server, _time) = manual();
        let (server, stop) = server.with_cancel();
        let layer = ServerLayer::new(http_layer(&server).trust(trust));
        let mut client = client(ClientLayer::new(), layer.layer(echo_server()));
        let mut replies =
            client.server_stream(EchoRequest { count: 9, ..delayed("a", SECOND) }).await.expect("a head").into_inner();
        let mut other = client.clone();
        let mut unary = Box::pin(other.unary(delayed("a", SECOND)));
        assert!(replies.message().now_or_never().is_none());
        assert!((&mut unary).now_or_never().is_none());
        stop.cancel_with("the disk is full");
        for status in [replies.message().await.map(drop), unary.await.map(drop)] {
            let status = status.expect_err("the server stops");
            assert_eq!(status.code(), tonic::Code::Cancelled);
            let cause = status.remote_cause().map(|cause| cause.to_string());
            assert_eq!(cause.is_some_and(|cause| cause.contains("the disk is full")), is_told);
            assert!(!status.message().contains("disk"));
        }
    }
}

/// Answers every call with a status that has a message, details, metadata and a cause.
async fn out_of_cheese(_: Request<Body>) -> Result<Response<Body>, std::convert::Infallible> {
    let mut status = tonic::Status::with_details(tonic::Code::DataLoss, "no cheese → 0 %", vec![0, 255, 7].into());
    status.metadata_mut().insert("x-shelf", "9".parse().expect("ASCII"));
    let cause = "of the upstream".parse().expect("ASCII");
    status.metadata_mut().insert(RemoteCause::HEADER, cause);
    Ok(status.into_http())
}

#[tokio::test]
async fn status_of_the_upstream_is_unchanged_except_for_its_cause() {
    for (trust, is_told) in [(TrustPolicy::trusted(), true), (TrustPolicy::untrusted(), false)] {
        let (server, _time) = manual();
        let upstream = client(ClientLayer::new(), tower::service_fn(out_of_cheese));
        let service = tower::service_fn(move |request: Request<_>| {
            let mut upstream = upstream.clone();
            async move {
                let ctx = request.extensions().get::<Context>().expect("the layer inserted one").clone();
                let status =
                    upstream.unary(tonic::Request::new(echo("a")).with_context(&ctx)).await.expect_err("a status");
                Ok::<_, std::convert::Infallible>(status.into_http::<Body>())
            }
        });
        let (layer, ends) = noted(http_layer(&server).trust(trust));
        let mut client = client(ClientLayer::new(), layer.layer(service));
        let status = client.unary(echo("a")).await.expect_err("a status");
        assert_eq!((status.code(), status.message()), (tonic::Code::DataLoss, "no cheese → 0 %"));
        assert_eq!(status.details(), [0, 255, 7]);
        assert_eq!(status.metadata().get("x-shelf").map(|shelf| shelf.as_bytes()), Some(&b"9"[..]));
        assert_eq!(status.remote_cause().is_some(), is_told);
        assert_eq!(ends(), [(Some(Code::DataLoss), RequestOutcome::Answered)]);

        let error = Error::from(status);
        assert_eq!((error.code(), error.is_not_sent()), (Code::DataLoss, false));
        assert_eq!(error.to_string(), "DATA_LOSS: no cheese → 0 %");
        assert_eq!(tonic::Status::from(error).details(), [0, 255, 7], "and back");
    }
}

#[tokio::test]
async fn disconnect_cancels_the_handler_and_its_spawned_tasks() {
    let (server, _time) = manual();
    let (server, tasks) = server.with_tasks();
    let (layer, ends) = noted(http_layer(&server));
    let mut client = client(ClientLayer::new(), layer.layer(echo_server()));
    let request = EchoRequest { spawn: true, ..delayed("a", SECOND) };
    let mut call = Box::pin(client.unary(request));
    assert!((&mut call).now_or_never().is_none());
    assert_eq!(tasks.len(), 1);
    drop(call);
    tasks.wait(&Context::background()).await.expect("they end");
    assert_eq!(ends(), [(Some(Code::Cancelled), RequestOutcome::ClientDisconnected)]);
}

#[tokio::test]
async fn clients_own_cancel_ends_its_call_with_the_reason() {
    let (server, _time) = manual();
    let mut client = client(ClientLayer::new(), ServerLayer::new(http_layer(&server)).layer(echo_server()));
    let (ctx, cancel) = Context::background().with_name("report").with_cancel();
    let mut call = Box::pin(client.unary(tonic::Request::new(delayed("a", SECOND)).with_context(&ctx)));
    assert!((&mut call).now_or_never().is_none());
    cancel.cancel_with("the user has left");
    let status = call.await.expect_err("it was canceled");
    assert_eq!(status.code(), tonic::Code::Cancelled);
    assert_eq!(status.remote_cause(), None, "it ended here");
    assert!(!status.message().contains("user"), "a handler may answer with it");
    let error = status.context_error().expect("the context ended it");
    assert_eq!(error.cause().expect("there is one").to_string(), "the user has left");

    let error = Error::from(status);
    assert!(error.is_canceled() && error.context_error().is_some());
    let story = format!("{error:#}");
    assert!(story.starts_with("CANCELLED: Post \"") && story.contains("the user has left"), "{story}");
    let back = tonic::Status::from(error);
    assert!(back.context_error().is_some());
}

#[tokio::test]
async fn call_without_time_left_is_not_sent() {
    let (ctx, _time) = manual();
    let server = tower::service_fn(|_: Request<Body>| async {
        if true {
            panic!("nothing is sent");
        }
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    });
    let mut client = client(ClientLayer::new(), server);
    let ctx = ctx.with_timeout(std::time::Duration::ZERO);
    let status = client.unary(tonic::Request::new(echo("a")).with_context(&ctx)).await.expect_err("no time is left");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert!(Error::from(status).is_not_sent());
}

#[tokio::test]
async fn every_call_ends_with_a_code() {
    let (server, _time) = manual();
    let (layer, ends) = noted(http_layer(&server).strict(true));
    send(&layer, async |_| Ok(()), request(UNARY)).await;
    send(&layer, async |_| Err(tonic::Status::not_found("")), request(UNARY)).await;
    send(&layer, async |_| panic!("a bug"), request(UNARY)).await;
    send(&layer, async |_| Ok(()), with_header(request(UNARY), timeout::HEADER, "0n")).await;
    send(&layer, async |_| Ok(()), with_header(request(UNARY), timeout::HEADER, "nonsense")).await;
    let codes: Vec<_> = ends().into_iter().map(|(code, _)| code.expect("a gRPC call")).collect();
    let expected = [Code::Ok, Code::NotFound, Code::Internal, Code::DeadlineExceeded, Code::InvalidArgument];
    assert_eq!(codes, expected);

    let mut client = client(ClientLayer::new(), layer.layer(echo_server()));
    let replies = client.server_stream(EchoRequest { count: 2, ..echo("a") }).await.expect("a head").into_inner();
    let replies: Vec<_> = futures::StreamExt::collect(replies).await;
    assert!(replies.len() == 2 && replies.iter().all(Result::is_ok));
    assert_eq!(ends(), [(Some(Code::Ok), RequestOutcome::Answered)]);
}

#[tokio::test]
async fn errors_of_policies_have_their_codes() {
    let (server, _time) = manual();
    let layer = ServerLayer::new(http_layer(&server));
    let handler = async |ctx: Context| {
        let breaker = ripcord_policy::CircuitBreaker::builder("disk").consecutive_failures(1).build().expect("valid");
        let call = || breaker.run(&ctx, |_| async { Err::<(), _>(std::io::Error::other("disk on fire")) });
        let status = call().await.or_status().expect_err("its own error");
        assert_eq!((status.code(), status.message()), (tonic::Code::Internal, "Internal server error"));
        call().await.or_status()
    };
    assert_eq!(send(&layer, handler, request(UNARY)).await.code(), Code::Unavailable);
}

#[tokio::test]
async fn clients_own_deadline_ends_a_stream_in_the_middle() {
    let (server, _time_of_server) = manual();
    let http = http_layer(&server);
    let mut client = client(ClientLayer::new(), ServerLayer::new(http.clone()).layer(echo_server()));
    let (ctx, time) = manual();
    let ctx = ctx.with_timeout(SECOND);
    let request = EchoRequest { count: 3, ..delayed("a", 5 * SECOND) };
    let mut replies =
        client.server_stream(tonic::Request::new(request).with_context(&ctx)).await.expect("a head").into_inner();
    assert!(replies.message().now_or_never().is_none());
    time.advance(SECOND);
    let status = replies.message().await.expect_err("the time is over");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert!(status.context_error().is_some_and(ripcord::Error::is_deadline_exceeded));
    // The server's clock stands still, so the server detects the end by the reset.
    assert_eq!((http.stats().in_flight, http.stats().disconnected), (0, 1));
}

#[tokio::test]
async fn error_has_its_code_through_layers_that_wrap_it() {
    let (ctx, _time) = manual();
    let server = tower::service_fn(out_of_cheese);
    let wrapped = ClientLayer::new().layer(server).map_err(std::io::Error::other);
    let mut client = EchoClient::new(wrapped);
    let ctx = ctx.with_timeout(std::time::Duration::ZERO);
    let status = client.unary(tonic::Request::new(echo("a")).with_context(&ctx)).await.expect_err("no time is left");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert!(status.context_error().is_some());
}
