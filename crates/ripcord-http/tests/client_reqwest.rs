//! Tests `client.get(url).context(&ctx).send()` over real sockets, on a manual clock.

mod common;

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{answer, serve};
use futures::StreamExt as _;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use reqwest::Client;
use ripcord::{Canceler, Clock, Context, ManualTime};
use ripcord_http::RequestId;
use ripcord_http::client::reqwest::{RequestBuilderExt as _, Response};
use ripcord_http::client::{BaggageFilter, CauseLayer};
use ripcord_http::deadline::Dialect;
use ripcord_http::trace_context::{Baggage, Traceparent};
use tokio::sync::mpsc;

const TIMEOUT: Duration = Duration::from_secs(5);

fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_clock(clock).with_timeout(TIMEOUT), time)
}

/// Starts a server that answers with the received headers, one line each.
async fn echo() -> SocketAddr {
    let line =
        |(name, value): (&http::HeaderName, &http::HeaderValue)| format!("{name}: {}\n", value.to_str().unwrap());
    serve(move |request| async move { answer(request.headers().iter().map(line).collect::<String>()) }).await
}

#[tokio::test]
async fn call_sends_the_values_of_its_context() {
    let server = echo().await;
    let baggage = Baggage::decode([&http::HeaderValue::from_static("tenant=7,secret=8")]).unwrap().unwrap();
    let (ctx, time) = manual();
    let ctx = ctx.with_value(RequestId::generate()).with_value(Traceparent::start(true)).with_value(baggage);
    time.advance(Duration::from_micros(1));

    let send = |dialect| {
        let request = Client::new().get(format!("http://{server}/")).header("x-request-timeout-ms", "999999");
        request.context(&ctx).dialect(dialect).baggage(BaggageFilter::only(["tenant"])).send()
    };
    let headers = send(Dialect::Plain).await.unwrap().text().await.unwrap();
    let id = ctx.value::<RequestId>().unwrap();
    let trace = &ctx.value::<Traceparent>().unwrap().to_string()[..36];
    for line in ["x-request-timeout-ms: 4999\n", "baggage: tenant=7\n", &format!("x-request-id: {id}\n"), trace] {
        assert_eq!(headers.matches(line).count(), 1, "{line:?} in {headers}");
    }
    assert!(!headers.contains("999999"));

    let headers = send(Dialect::GrpcTimeout).await.unwrap().text().await.unwrap();
    assert!(headers.contains("grpc-timeout: 4999999u\n") && !headers.contains("x-request-timeout-ms"), "{headers}");
}

#[tokio::test]
async fn call_without_time_left_is_not_sent() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let server = serve(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { answer("") }
    });
    let url = format!("http://{}/", server.await);
    let (ctx, time) = manual();
    time.advance(TIMEOUT);
    let error = Client::new().get(&url).context(&ctx).send().await.unwrap_err();
    assert_eq!(error.to_string(), format!("Get {url:?}: context deadline exceeded"));
    assert!(error.is_deadline_exceeded());

    // The server counts only this second call.
    Client::new().get(&url).context(&Context::background()).send().await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

/// Starts a server that never answers. It reports each request and each disconnect.
async fn silent() -> (SocketAddr, mpsc::UnboundedReceiver<&'static str>) {
    struct Gone(mpsc::UnboundedSender<&'static str>);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = self.0.send("gone");
        }
    }
    let (events, seen) = mpsc::unbounded_channel();
    let server = serve(move |_| {
        let gone = Gone(events.clone());
        async move {
            gone.0.send("there").expect("the test listens");
            std::future::pending().await
        }
    });
    (server.await, seen)
}

#[tokio::test]
async fn call_ends_at_the_deadline_and_the_server_sees_it() {
    let (server, mut seen) = silent().await;
    let (ctx, time) = manual();
    let url = format!("http://user:secret@{server}/delay/2");
    let call = tokio::spawn(Client::new().post(&url).context(&ctx).send());
    assert_eq!(seen.recv().await, Some("there"));
    time.advance(TIMEOUT);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), format!("Post \"http://{server}/delay/2\": context deadline exceeded"));
    assert!(error.source().unwrap().is::<ripcord::Error>());
    assert_eq!(seen.recv().await, Some("gone"));
}

#[tokio::test]
async fn cancel_ends_the_call() {
    let (server, mut seen) = silent().await;
    let (ctx, cancel) = Context::background().with_cancel();
    let call = tokio::spawn(Client::new().get(format!("http://{server}/delay/3")).context(&ctx).send());
    assert_eq!(seen.recv().await, Some("there"));
    cancel.cancel_with("the page was closed");
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), format!("Get \"http://{server}/delay/3\": context canceled"));
    assert!(format!("{error:#}").contains("the page was closed"));
    assert_eq!(seen.recv().await, Some("gone"));
}

#[tokio::test]
async fn dropping_the_call_cancels_it() {
    let (server, mut seen) = silent().await;
    let call = tokio::spawn(Client::new().get(format!("http://{server}/")).context(&Context::background()).send());
    assert_eq!(seen.recv().await, Some("there"));
    call.abort();
    assert_eq!(seen.recv().await, Some("gone"));
}

/// Returns a response whose body does not end until the sender is dropped.
async fn streaming(ctx: &Context) -> (Response, mpsc::UnboundedSender<Bytes>) {
    let (server, sender) = stream_server().await;
    let url = format!("http://{server}/stream");
    (Client::new().get(url).context(ctx).send().await.unwrap(), sender)
}

/// Starts a server for one call. The body of the response does not end until the sender is dropped.
async fn stream_server() -> (SocketAddr, mpsc::UnboundedSender<Bytes>) {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let server = serve(move |_| {
        let receiver = receiver.lock().unwrap().take().expect("there is one call");
        let pieces = futures::stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((Ok(Frame::data(piece)), receiver))
        });
        async { http::Response::new(BodyExt::boxed(StreamBody::new(pieces))) }
    });
    (server.await, sender)
}

fn cancelable() -> (Context, Canceler) {
    Context::background().with_cancel()
}

#[tokio::test]
async fn each_reader_of_a_body_reads_it() {
    let server = serve(|_| async { answer(r#"["a","b"]"#) }).await;
    let (ctx, _cancel) = cancelable();
    let get = || Client::new().get(format!("http://{server}/x")).context(&ctx).send();

    let response = get().await.unwrap();
    assert_eq!((response.status().as_u16(), response.url().path()), (200, "/x"));
    assert_eq!(response.remote_addr(), Some(server));
    assert_eq!(response.content_length(), Some(9));
    assert_eq!(response.text().await.unwrap(), r#"["a","b"]"#);
    assert_eq!(get().await.unwrap().bytes().await.unwrap(), &b"[\"a\",\"b\"]"[..]);
    assert_eq!(get().await.unwrap().json::<Vec<String>>().await.unwrap(), ["a", "b"]);
    assert_eq!(get().await.unwrap().into_inner().text().await.unwrap(), r#"["a","b"]"#);
    let pieces: Vec<_> = get().await.unwrap().bytes_stream().map(Result::unwrap).collect().await;
    assert_eq!(pieces.concat(), b"[\"a\",\"b\"]");

    let error = get().await.unwrap().json::<u8>().await.unwrap_err();
    assert!(error.is_body() && error.context_error().is_none());
    assert!(format!("{error:#}").contains("invalid type: sequence"), "{error:#}");
}

#[tokio::test]
async fn each_reader_of_a_body_ends_with_the_context() {
    macro_rules! ends {
        ($read:expr) => {
            let (ctx, cancel) = cancelable();
            let (response, _sender) = streaming(&ctx).await;
            let read = tokio::spawn(async move {
                let read: fn(Response) -> _ = $read;
                read(response).await
            });
            tokio::task::yield_now().await;
            cancel.cancel_with("enough");
            let error = read.await.unwrap().unwrap_err();
            assert!(error.is_canceled() && error.is_body(), "{error:#}");
            assert_eq!(error.to_string(), "context canceled");
            assert!(
                format!("{error:#}").contains("/stream\": reading the body: context canceled: enough"),
                "{error:#}"
            );
        };
    }
    ends!(|response| response.text());
    ends!(|response| response.bytes());
    ends!(|response| response.json::<u8>());
    ends!(|mut response| async move { response.chunk().await });
    ends!(|response| async move { response.bytes_stream().next().await.expect("it fails first") });
}

#[tokio::test]
async fn idle_timeout_restarts_with_each_chunk_and_ends_a_body_that_stalls() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(10 * TIMEOUT);
    let (server, sender) = stream_server().await;
    let request = Client::new().get(format!("http://{server}/stream")).context(&ctx).idle_timeout(TIMEOUT);
    let line = line!() - 1;
    let mut response = request.send().await.unwrap();
    for _ in 0..4 {
        time.advance(TIMEOUT - Duration::from_secs(1));
        sender.send(Bytes::from_static(b"token")).unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "token");
    }
    let stalled = tokio::spawn(async move { response.chunk().await });
    time.wait_for_timers(1).await;
    time.advance(TIMEOUT);
    let error = stalled.await.unwrap().unwrap_err();
    assert!(error.is_deadline_exceeded() && error.is_body(), "{error:#}");
    let place = format!("idle for 5s: timeout set at {}:{line}:", file!());
    assert!(format!("{error:#}").contains(&place), "{error:#}");
    assert!(!ctx.is_done(), "it is the call's own");
}

#[tokio::test]
async fn idle_timeout_ends_a_call_without_an_answer_and_is_not_sent() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock);
    let request = Client::new().get(format!("http://{}/", echo().await)).context(&ctx).idle_timeout(TIMEOUT);
    let headers = request.send().await.unwrap().text().await.unwrap();
    assert!(!headers.contains("timeout"), "{headers}");

    let (server, mut seen) = silent().await;
    let call = Client::new().get(format!("http://{server}/")).context(&ctx).idle_timeout(TIMEOUT);
    let call = tokio::spawn(call.send());
    assert_eq!(seen.recv().await, Some("there"));
    time.advance(TIMEOUT);
    let error = call.await.unwrap().unwrap_err();
    assert!(error.is_deadline_exceeded() && format!("{error:#}").contains("idle for 5s"), "{error:#}");
    assert_eq!(seen.recv().await, Some("gone"));
}

/// Starts a server that reports each chunk of a request's body, and answers at the end of the body.
async fn upload_server() -> (SocketAddr, mpsc::UnboundedReceiver<Bytes>) {
    let (chunks, seen) = mpsc::unbounded_channel();
    let server = serve(move |request| {
        let chunks = chunks.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                frame.into_data().into_iter().for_each(|data| chunks.send(data).expect("the test listens"));
            }
            answer("received")
        }
    });
    (server.await, seen)
}

#[tokio::test]
async fn idle_timeout_restarts_with_each_chunk_of_an_upload() {
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(10 * TIMEOUT);
    let (server, mut seen) = upload_server().await;
    for is_stalled in [false, true] {
        let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
        let pieces = futures::stream::unfold(receiver, |mut receiver| async {
            let piece = receiver.recv().await?;
            Some((Ok::<_, std::io::Error>(Frame::data(piece)), receiver))
        });
        let request =
            Client::new().post(format!("http://{server}/")).body(reqwest::Body::wrap(StreamBody::new(pieces)));
        let call = tokio::spawn(request.context(&ctx).idle_timeout(TIMEOUT).send());
        for _ in 0..4 {
            sender.send(Bytes::from_static(b"part")).unwrap();
            assert_eq!(seen.recv().await.unwrap(), "part");
            time.advance(TIMEOUT - Duration::from_secs(1));
        }
        if is_stalled {
            time.advance(Duration::from_secs(1));
            let error = call.await.unwrap().unwrap_err();
            assert!(error.is_deadline_exceeded() && format!("{error:#}").contains("idle for 5s"), "{error:#}");
            assert!(!ctx.is_done(), "it is the call's own");
        } else {
            drop(sender);
            assert_eq!(call.await.unwrap().unwrap().text().await.unwrap(), "received");
        }
    }
}

#[tokio::test]
async fn body_of_bytes_under_an_idle_timeout_is_sent_again_after_a_redirect() {
    let server = serve(|request| async move {
        if request.uri().path() == "/moved" {
            return answer(request.into_body().collect().await.unwrap().to_bytes());
        }
        let mut redirect = answer("");
        *redirect.status_mut() = http::StatusCode::TEMPORARY_REDIRECT;
        redirect.headers_mut().insert("location", http::HeaderValue::from_static("/moved"));
        redirect
    });
    let request = Client::new().post(format!("http://{}/", server.await)).body("all of it");
    let response = request.context(&Context::background()).idle_timeout(TIMEOUT).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "all of it");
}

/// A request that [`noticed`] has received: its method, its trace and its cause.
type Noticed = (http::Method, Option<String>, Option<String>);

/// Starts a server that reports each request. A GET gets an unfinished response, a POST gets no response.
async fn noticed() -> (SocketAddr, mpsc::UnboundedReceiver<Noticed>) {
    let (requests, seen) = mpsc::unbounded_channel();
    let server = serve(move |request| {
        let header = |name| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let trace = header("ripcord-cancel").or_else(|| header("traceparent"));
        let method = request.method().clone();
        requests.send((method.clone(), trace, header("ripcord-cause"))).expect("the test listens");
        async move {
            match method {
                http::Method::GET => {
                    let pending = futures::stream::pending::<Result<Frame<Bytes>, std::convert::Infallible>>();
                    http::Response::new(BodyExt::boxed(StreamBody::new(pending)))
                }
                http::Method::POST => std::future::pending().await,
                _ => answer(""),
            }
        }
    });
    (server.await, seen)
}

#[tokio::test]
async fn canceled_call_with_a_cause_layer_tells_the_server_why() {
    let (server, mut seen) = noticed().await;
    let cause = CauseLayer::new(|notice| drop(tokio::spawn(notice)));
    for method in [http::Method::POST, http::Method::GET] {
        let ctx = Context::background().with_value(Traceparent::start(true)).with_name("GET /a");
        let (ctx, cancel) = ctx.with_cancel();
        let request = Client::new().request(method.clone(), format!("http://{server}/b"));
        let call = tokio::spawn(request.context(&ctx).cause_layer(&cause).send());
        let (is_sent, trace, _) = seen.recv().await.unwrap();
        assert_eq!(is_sent, method);
        let response = if method == http::Method::GET { Some(call.await.unwrap().unwrap()) } else { None };
        cancel.cancel_with("client disconnected");
        if let Some(response) = response {
            assert!(response.text().await.unwrap_err().is_canceled());
        }
        let expected = (http::Method::OPTIONS, trace, Some("GET /a: client disconnected".to_owned()));
        assert_eq!(seen.recv().await.unwrap(), expected, "after {method}");
    }
}

#[tokio::test]
async fn canceled_call_without_a_cause_layer_sends_nothing_more() {
    let (server, mut seen) = noticed().await;
    let (ctx, cancel) = Context::background().with_value(Traceparent::start(true)).with_cancel();
    let call = tokio::spawn(Client::new().post(format!("http://{server}/b")).context(&ctx).send());
    assert_eq!(seen.recv().await.unwrap().0, http::Method::POST);
    cancel.cancel();
    assert!(call.await.unwrap().unwrap_err().is_canceled());
    // The server reports requests in order, so it has received no request between these two.
    Client::new().delete(format!("http://{server}/b")).context(&Context::background()).send().await.unwrap();
    assert_eq!(seen.recv().await.unwrap().0, http::Method::DELETE);
}

#[tokio::test]
async fn chunks_end_with_the_body() {
    let (ctx, cancel) = cancelable();
    let (mut response, sender) = streaming(&ctx).await;
    sender.send(Bytes::from_static(b"one")).unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "one");
    let mut stream = response.bytes_stream();
    sender.send(Bytes::from_static(b"two")).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "two");
    cancel.cancel();
    assert!(stream.next().await.unwrap().unwrap_err().is_canceled());
    assert!(stream.next().await.is_none());
    sender.closed().await; // the transfer was ended
}

#[tokio::test]
async fn refused_connection_is_connect_and_not_sent() {
    // No server can get this port by asking for a free one.
    let unused = "127.0.0.1:1";
    let (ctx, _cancel) = cancelable();
    let error = Client::new().get(format!("http://{unused}/")).context(&ctx).send().await.unwrap_err();
    assert_eq!(error.to_string(), format!("Get \"http://{unused}/\": error sending request"));
    assert!(format!("{error:#}").contains("onnection refused"), "{error:#}");
    assert!(error.context_error().is_none() && error.source().is_some());
    assert!(error.is_connect() && error.is_not_sent() && !error.is_timeout());
}

#[tokio::test]
async fn invalid_url_is_not_sent() {
    let (ctx, _cancel) = cancelable();
    let error = Client::new().get("no url").context(&ctx).send().await.unwrap_err();
    assert!(error.to_string().contains("builder error"), "{error}");
    assert!(error.is_not_sent() && !error.is_connect());
}

#[tokio::test]
async fn connection_closed_without_a_response_may_have_sent_the_request() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move { drop(listener.accept().await) });
    let (ctx, _cancel) = cancelable();
    let error = Client::new().get(format!("http://{server}/")).context(&ctx).send().await.unwrap_err();
    assert!(!error.is_connect() && !error.is_not_sent() && !error.is_timeout(), "{error:#}");
}

#[tokio::test]
async fn reqwests_own_timeout_is_a_timeout_and_may_have_been_sent() {
    let (server, mut seen) = silent().await;
    // Doubles the timeout until the server receives the request, because the machine may be busy.
    for timeout in (0..12).map(|doubled| Duration::from_millis(20 << doubled)) {
        let client = Client::builder().timeout(timeout).build().unwrap();
        let error = client.get(format!("http://{server}/")).context(&Context::background()).send().await.unwrap_err();
        assert!(error.is_timeout() && !error.is_deadline_exceeded(), "{error:#}");
        if seen.try_recv() == Ok("there") {
            assert!(!error.is_not_sent(), "{error:#}");
            return;
        }
    }
    panic!("the server saw no request");
}

#[tokio::test]
async fn rejected_response_keeps_its_status_and_headers() {
    let server = serve(|_| async {
        let mut answer = answer("");
        *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        answer.headers_mut().insert("retry-after", http::HeaderValue::from_static("3"));
        answer
    });
    let url = format!("http://{}/", server.await);
    let response = Client::new().get(&url).context(&Context::background()).send().await.unwrap();
    let error = response.error_for_status().unwrap_err();
    assert_eq!(error.to_string(), format!("Get {url:?}: status 503 Service Unavailable"));
    assert_eq!(error.status(), Some(http::StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(error.headers().unwrap()["retry-after"], "3");
    assert!(!error.is_not_sent() && !error.is_connect() && !error.is_timeout() && !error.is_body());
}

#[tokio::test]
async fn rejected_response_says_why_the_server_canceled() {
    let server = serve(|_| async {
        let mut answer = answer("");
        *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        answer.headers_mut().insert("ripcord-cause", http::HeaderValue::from_static("GET /a: client%0Adisconnected"));
        answer
    });
    let url = format!("http://{}/", server.await);
    let response = Client::new().get(&url).context(&Context::background()).send().await.unwrap();
    let error = response.error_for_status().unwrap_err();
    assert_eq!(error.to_string(), format!("Get {url:?}: status 503 Service Unavailable"));
    let story = format!("Get {url:?}: status 503 Service Unavailable: peer: GET /a: client\\ndisconnected");
    assert_eq!(format!("{error:#}"), story);
    assert_eq!(error.remote_cause().unwrap().to_string(), "peer: GET /a: client\\ndisconnected");
}

#[tokio::test]
async fn successful_response_passes_error_for_status() {
    let server = serve(|_| async { answer("fine") }).await;
    let response = Client::new().get(format!("http://{server}/")).context(&Context::background()).send().await.unwrap();
    assert_eq!(response.error_for_status().unwrap().text().await.unwrap(), "fine");
}
