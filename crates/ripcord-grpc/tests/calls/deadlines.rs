//! Tests `grpc-timeout` in both directions and for both streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt as _, StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use ripcord::Context;
use ripcord_grpc::tonic::{RequestExt as _, ResultExt as _, StatusExt as _};
use ripcord_grpc::{ClientLayer, Code, ServerLayer, timeout};
use ripcord_http::TrustPolicy;
use ripcord_http::server::ContextLayer;
use tonic::body::Body;
use tower::{Layer as _, Service as _};

use crate::common::{
    SECOND, UNARY, client, delayed, echo, echo_server, http_layer, manual, request, send, with_header,
};

const MALFORMED: [&[&str]; 12] = [
    &["5S", "5S"],
    &[""],
    &["+5S"],
    &["-5S"],
    &["123456789S"],
    &["5"],
    &["S"],
    &["5s"],
    &["5 S"],
    &[" 5S"],
    &["5.0S"],
    &["5SS"],
];

#[tokio::test]
async fn malformed_timeout_counts_as_absent_and_is_counted() {
    let (server, _time) = manual();
    for values in MALFORMED {
        let http = http_layer(&server);
        let request = values.iter().fold(request(UNARY), |request, value| with_header(request, timeout::HEADER, value));
        let handler = async |ctx: Context| {
            assert_eq!(ctx.deadline(), None);
            Ok(())
        };
        let answer = send(&ServerLayer::new(http.clone()), handler, request).await;
        assert_eq!(answer.code(), Code::Ok, "{values:?}");
        let counted = http.stats().malformed().find(|(header, _)| *header == timeout::HEADER);
        assert_eq!(counted, Some((timeout::HEADER, 1)), "{values:?}");
        assert_eq!(http.stats().deadlines_received, 0);
    }
}

#[tokio::test]
async fn strict_layer_answers_a_malformed_timeout_with_invalid_argument() {
    let (server, _time) = manual();
    for values in MALFORMED {
        let layer = ServerLayer::new(http_layer(&server).strict(true));
        let request = values.iter().fold(request(UNARY), |request, value| with_header(request, timeout::HEADER, value));
        let answer = send(&layer, async |_| panic!("it is not called"), request).await;
        assert!(answer.is_trailers_only(), "{values:?}");
        assert_eq!(answer.code(), Code::InvalidArgument, "{values:?}");
    }
}

#[tokio::test]
async fn zero_timeout_is_deadline_exceeded_in_trailers_only_without_a_call() {
    let (server, _time) = manual();
    for value in ["0n", "0H", "00000000m"] {
        let http = http_layer(&server);
        let request = with_header(request(UNARY), timeout::HEADER, value);
        let answer = send(&ServerLayer::new(http.clone()), async |_| panic!("it is not called"), request).await;
        assert!(answer.is_trailers_only());
        assert_eq!(answer.code(), Code::DeadlineExceeded);
        assert_eq!(http.stats().expired, 1);
    }
}

#[tokio::test]
async fn largest_timeout_saturates_in_both_directions() {
    let (server, _time) = manual();
    let handler = async |ctx: Context| {
        // The encoded time left is not longer than the received time, and encoding does not fail.
        let left = ctx.remaining().map(|left| timeout::encode(left).expect("there is time left").to_string());
        assert!(left.is_none_or(|left| left.ends_with('H')));
        Ok(())
    };
    let request = with_header(request(UNARY), timeout::HEADER, "99999999H");
    assert_eq!(send(&ServerLayer::new(http_layer(&server)), handler, request).await.code(), Code::Ok);
}

#[tokio::test]
async fn call_sends_the_time_left_the_id_and_the_trace() {
    let (server, time) = manual();
    let layer = ServerLayer::new(http_layer(&server).timeout(10 * SECOND));
    let (upstream, time_of_upstream) = manual();
    let upstream = ServerLayer::new(http_layer(&upstream)).layer(echo_server());
    let upstream = client(ClientLayer::new(), upstream);
    drop(time_of_upstream);
    let handler = move |ctx: Context| {
        let mut upstream = upstream.clone();
        let time = time.clone();
        async move {
            time.advance(3 * SECOND);
            let reply = upstream.unary(tonic::Request::new(echo("a")).with_context(&ctx)).await?.into_inner();
            assert_eq!((reply.has_deadline, reply.remaining_ms), (true, 7000));
            assert_eq!(reply.request_id, ctx.value::<ripcord_http::RequestId>().expect("there is one").to_string());
            let trace = ctx.value::<ripcord_http::trace_context::Traceparent>().expect("there is one").to_string();
            assert_eq!(reply.traceparent[..36], trace[..36], "the same trace");
            assert_ne!(reply.traceparent, trace, "another span");
            Ok(())
        }
    };
    assert_eq!(send(&layer, handler, request(UNARY)).await.code(), Code::Ok);
}

#[tokio::test]
async fn call_without_cancel_sends_no_deadline_and_continues_after_the_deadline() {
    let (ctx, time) = manual();
    let ctx = ctx.with_value(ripcord_http::RequestId::generate()).with_timeout(SECOND);
    let (upstream, upstream_time) = manual();
    let service = ServerLayer::new(http_layer(&upstream)).layer(echo_server());
    let one_call = (ClientLayer::new(), ctx.without_cancel());
    let all_calls = (ClientLayer::new().without_cancel(), ctx.clone());
    for (layer, ctx) in [one_call, all_calls] {
        let mut client = client(layer, service.clone());
        let request = tonic::Request::new(delayed("a", 5 * SECOND)).with_context(&ctx);
        let mut call = Box::pin(client.unary(request));
        assert!((&mut call).now_or_never().is_none());
        time.advance(2 * SECOND);
        assert!((&mut call).now_or_never().is_none(), "its context has ended, and it goes on");
        upstream_time.advance(5 * SECOND);
        let reply = call.await.expect("it succeeds").into_inner();
        assert!(!reply.has_deadline);
        assert_eq!(reply.request_id, ctx.value::<ripcord_http::RequestId>().expect("there is one").to_string());
    }
}

#[tokio::test]
async fn deadline_between_head_and_first_message_ends_the_stream() {
    let (server, time) = manual();
    let http = http_layer(&server);
    let mut client = client(ClientLayer::new(), ServerLayer::new(http.clone()).layer(echo_server()));
    let mut request = tonic::Request::new(crate::generated::EchoRequest { count: 3, ..delayed("a", 5 * SECOND) });
    request.set_timeout(2 * SECOND);
    let mut replies = client.server_stream(request).await.expect("a head").into_inner();
    assert!(replies.message().now_or_never().is_none());
    time.advance(2 * SECOND);
    let status = replies.message().await.expect_err("the deadline has passed");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    let cause = status.remote_cause().expect("the client is trusted").to_string();
    assert!(cause.contains("the client's grpc-timeout"), "{cause}");
    drop(replies);
    assert_eq!((http.stats().in_flight, http.stats().timed_out), (0, 1));
}

#[tokio::test]
async fn deadline_in_the_middle_of_a_stream_ends_it() {
    let (server, time) = manual();
    let mut client = client(ClientLayer::new(), ServerLayer::new(http_layer(&server)).layer(echo_server()));
    let mut request = tonic::Request::new(crate::generated::EchoRequest { count: 30, ..delayed("a", SECOND) });
    request.set_timeout(5 * SECOND / 2);
    let mut replies = client.server_stream(request).await.expect("a head").into_inner();
    for _ in 0..2 {
        assert!(replies.message().now_or_never().is_none());
        time.advance(SECOND);
        assert!(replies.message().await.expect("in time").is_some());
    }
    assert!(replies.message().now_or_never().is_none());
    time.advance(SECOND / 2);
    assert_eq!(replies.message().await.expect_err("no more").code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn request_stream_that_stalls_ends_at_the_deadline() {
    let (server, time) = manual();
    let http = http_layer(&server);
    let mut client = client(ClientLayer::new(), ServerLayer::new(http.clone()).layer(echo_server()));
    let requests = stream::iter([echo("half")]).chain(stream::pending());
    let mut request = tonic::Request::new(requests);
    request.set_timeout(2 * SECOND);
    let mut call = Box::pin(client.client_stream(request));
    assert!((&mut call).now_or_never().is_none());
    time.advance(2 * SECOND);
    assert_eq!(call.await.expect_err("no answer").code(), tonic::Code::DeadlineExceeded);
    assert_eq!(http.stats().timed_out, 1);
}

#[tokio::test]
async fn spawned_reader_of_a_request_stream_sees_the_deadline_too() {
    let (server, time) = manual();
    let layer = ServerLayer::new(http_layer(&server));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let service = tower::service_fn(move |request: Request<ripcord_grpc::server::RequestBody<Body>>| {
        let tell = tell.clone();
        tokio::spawn(async move { tell.send(request.into_body().collect().await.map(drop)) });
        std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
    });
    let mut call = request(UNARY)
        .map(|_| Body::new(http_body_util::StreamBody::new(stream::pending::<Result<_, tonic::Status>>())));
    call.headers_mut().insert(timeout::HEADER, "2S".parse().expect("a value"));
    let mut call = Box::pin(layer.layer(service).call(call));
    assert!((&mut call).now_or_never().is_none());
    tokio::task::yield_now().await;
    time.advance(2 * SECOND);
    drop(call.await.expect("an answer"));
    let error = told.recv().await.expect("it was told").expect_err("the stream is cut short");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.context_error().is_some_and(ripcord::Error::is_deadline_exceeded));
}

#[tokio::test]
async fn idle_timeout_restarts_with_each_message_of_a_request() {
    let (server, time) = manual();
    let layer = ServerLayer::new(http_layer(&server).idle_timeout(2 * SECOND));
    let mut client = client(ClientLayer::new(), layer.layer(echo_server()));
    let (send, messages) = tokio::sync::mpsc::unbounded_channel();
    let messages = tokio_stream::wrappers::UnboundedReceiverStream::new(messages);
    let mut call = Box::pin(client.client_stream(messages));
    for _ in 0..5 {
        send.send(echo("a")).expect("the call listens");
        assert!((&mut call).now_or_never().is_none());
        time.advance(SECOND + SECOND / 2);
    }
    assert!((&mut call).now_or_never().is_none(), "it has made progress");
    time.advance(SECOND);
    assert_eq!(call.await.expect_err("it is idle").code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn margin_is_kept_back_from_the_clients_deadline_only() {
    let (server, _time) = manual();
    let margin = SECOND / 100;
    let left = |header: Option<&'static str>| {
        let layer = ServerLayer::new(http_layer(&server).timeout(20 * SECOND)).margin(margin);
        let request =
            header.into_iter().fold(request(UNARY), |request, value| with_header(request, timeout::HEADER, value));
        async move {
            let left = Arc::new(AtomicUsize::new(0));
            let seen = Arc::clone(&left);
            let handler = move |ctx: Context| {
                seen.store(ctx.remaining().expect("a deadline").as_millis() as usize, Ordering::Relaxed);
                std::future::ready(Ok(()))
            };
            (send(&layer, handler, request).await.code(), left.load(Ordering::Relaxed))
        }
    };
    assert_eq!(left(Some("5S")).await, (Code::Ok, 4990));
    assert_eq!(left(None).await, (Code::Ok, 20_000));
    assert_eq!(left(Some("10m")).await.0, Code::DeadlineExceeded);
    assert_eq!(left(Some("nonsense")).await, (Code::Ok, 20_000));
}

#[tokio::test]
async fn cancelled_after_the_calls_own_deadline_is_deadline_exceeded() {
    let (ctx, time) = manual();
    let ctx = ctx.with_timeout(SECOND);
    // A server such as tonic's sends CANCELLED when the client's deadline has passed, in the head or in trailers.
    let server = tower::service_fn(move |_: Request<Body>| {
        time.advance(SECOND);
        std::future::ready(Ok::<_, std::convert::Infallible>(tonic::Status::cancelled("too slow").into_http::<Body>()))
    });
    let mut client = client(ClientLayer::new(), server);
    let status = client.unary(tonic::Request::new(echo("a")).with_context(&ctx)).await.expect_err("no reply");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn cancelled_before_the_calls_deadline_stays_cancelled() {
    let (ctx, _time) = manual();
    let server = tower::service_fn(move |_: Request<Body>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(tonic::Status::cancelled("stopping").into_http::<Body>()))
    });
    let mut client = client(ClientLayer::new(), server);
    let ctx = ctx.with_timeout(SECOND);
    let status = client.unary(tonic::Request::new(echo("a")).with_context(&ctx)).await.expect_err("no reply");
    assert_eq!((status.code(), status.message()), (tonic::Code::Cancelled, "stopping"));
}

#[tokio::test]
async fn call_of_an_untrusted_client_can_only_shorten_the_deadline() {
    let (server, _time) = manual();
    let http = ContextLayer::new(&server).trust(TrustPolicy::untrusted()).timeout(5 * SECOND);
    for (header, left) in [("1S", SECOND), ("60S", 5 * SECOND)] {
        let handler = move |ctx: Context| {
            assert_eq!(ctx.remaining(), Some(left));
            std::future::ready(ctx.check().or_status())
        };
        let request = with_header(request(UNARY), timeout::HEADER, header);
        assert_eq!(send(&ServerLayer::new(http.clone()), handler, request).await.code(), Code::Ok);
    }
}

#[tokio::test]
async fn request_without_grpc_content_type_is_answered_as_http() {
    let (server, time) = manual();
    for content_type in [None, Some("application/json"), Some("application/grpc-web+proto")] {
        let layer = ServerLayer::new(http_layer(&server).timeout(SECOND));
        let mut service = layer.layer(tower::service_fn(|_: Request<_>| {
            std::future::pending::<Result<Response<Body>, std::convert::Infallible>>()
        }));
        let mut request = request(UNARY);
        request.headers_mut().remove("content-type");
        let request =
            content_type.into_iter().fold(request, |request, value| with_header(request, "content-type", value));
        let mut call = Box::pin(service.call(request));
        assert!((&mut call).now_or_never().is_none());
        time.advance(SECOND);
        assert_eq!(call.await.expect("an answer").status(), 504);
    }
}
