//! Tests calls over sockets: `ripcord_http::serve` with tonic's routes, tonic's server and `Channel`, and HTTP/2 peers of `h2`.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::Request;
use ripcord::{Context, Shutdown};
use ripcord_grpc::tonic::RequestExt as _;
use ripcord_grpc::{ClientLayer, Code, Error, ServerLayer, Status};
use ripcord_http::server::ContextLayer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::{Channel, Server};
use tonic::{Response, Streaming};
use tower::Layer as _;

use crate::common::{SECOND, UNARY, delayed, echo, echo_server, http_layer, manual, serve, until, upstream};
use crate::generated::echo_client::EchoClient;
use crate::generated::echo_server::{Echo, EchoServer};
use crate::generated::{EchoReply, EchoRequest};

/// Serves the echo service of the example.
async fn serve_echo(http: ContextLayer) -> (SocketAddr, Shutdown) {
    serve(ServerLayer::new(http).layer(Routes::new(echo_server()))).await
}

#[tokio::test]
async fn serve_serves_tonics_routes_with_all_four_kinds_of_calls() {
    let http = http_layer(&Context::background());
    let (address, shutdown) = serve_echo(http.clone()).await;
    let mut client = upstream(address);
    let ctx = Context::background().with_timeout(60 * SECOND);

    let request = tonic::Request::new(echo("a")).with_context(&ctx);
    let reply = client.unary(request).await.expect("it succeeds").into_inner();
    assert!(reply.text == "a" && reply.has_deadline);

    let request = tonic::Request::new(EchoRequest { count: 3, ..echo("b") }).with_context(&ctx);
    let replies = client.server_stream(request).await.expect("it succeeds").into_inner();
    assert_eq!(replies.map(|reply| reply.expect("it succeeds").text).collect::<Vec<_>>().await, ["b", "b", "b"]);

    let texts = || tonic::Request::new(stream::iter(["c", "d"].map(echo))).with_context(&ctx);
    assert_eq!(client.client_stream(texts()).await.expect("it succeeds").into_inner().text, "c d");

    let replies = client.bidi(texts()).await.expect("it succeeds").into_inner();
    assert_eq!(replies.map(|reply| reply.expect("it succeeds").text).collect::<Vec<_>>().await, ["c", "d"]);

    until(|| http.stats().in_flight == 0).await;
    assert_eq!(http.stats().requests, 4);
    shutdown.begin("the test is over");
}

#[tokio::test]
async fn compressed_messages_pass_both_layers() {
    let service = echo_server().accept_compressed(CompressionEncoding::Gzip).send_compressed(CompressionEncoding::Gzip);
    let (address, _shutdown) = serve(ServerLayer::new(http_layer(&Context::background())).layer(service)).await;
    let mut client =
        upstream(address).send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    let text = "x".repeat(100_000);
    assert_eq!(client.unary(echo(&text)).await.expect("it succeeds").into_inner().text, text);
}

#[tokio::test]
async fn tonics_channel_is_a_transport() {
    let (server, time) = manual();
    let (address, _shutdown) = serve_echo(http_layer(&server)).await;
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URL").connect_lazy();
    let mut client = EchoClient::new(ClientLayer::new().layer(channel));
    let ctx = Context::background().with_clock(server.clock()).with_timeout(5 * SECOND);
    let reply =
        client.unary(tonic::Request::new(echo("a")).with_context(&ctx)).await.expect("it succeeds").into_inner();
    assert_eq!((reply.has_deadline, reply.remaining_ms), (true, 5000));
    let mut call = Box::pin(client.unary(tonic::Request::new(delayed("a", 9 * SECOND)).with_context(&ctx)));
    assert!(futures::poll!(&mut call).is_pending());
    time.advance(5 * SECOND);
    let error = Error::from(call.await.expect_err("the deadline has passed"));
    assert!(error.is_deadline_exceeded() && error.context_error().is_some(), "{error:?}");
}

#[tokio::test]
async fn server_of_tonic_with_a_margin_answers_deadline_exceeded() {
    let layer = ServerLayer::new(http_layer(&Context::background())).margin(9 * SECOND);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    tokio::spawn(Server::builder().add_service(layer.layer(echo_server())).serve_with_incoming(incoming));
    let mut request = tonic::Request::new(delayed("a", 60 * SECOND));
    request.set_timeout(9 * SECOND + SECOND / 20);
    let status = upstream(address).unary(request).await.expect_err("the time is over");
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
}

#[tokio::test]
async fn unreachable_server_is_unavailable_and_nothing_was_sent() {
    // No server can get this port by asking for a free one.
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let channel = Channel::from_shared(format!("http://{address}")).expect("a URL").connect_lazy();
    let of_hyper = upstream(address).unary(echo("a")).await;
    let of_tonic = EchoClient::new(ClientLayer::new().layer(channel)).unary(echo("a")).await;
    for status in [of_hyper, of_tonic] {
        let status = status.expect_err("nobody listens");
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert!(!status.message().contains(&address.to_string()), "a handler may answer with it");
        let error = Error::from(status);
        assert!(error.is_not_sent(), "{error:?}");
        assert!(format!("{error:#}").contains("onnection refused"), "{error:#}");
    }
}

/// Accepts HTTP/2 connections. Resets each stream with this reason, after the head of a response or without a head.
async fn serve_resets(reason: h2::Reason, is_after_head: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.expect("it speaks HTTP/2");
            tokio::spawn(async move {
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    if is_after_head {
                        let head = http::Response::builder().header("content-type", "application/grpc").body(());
                        let mut body = respond.send_response(head.expect("a head"), false).expect("it is open");
                        body.send_reset(reason);
                    } else {
                        respond.send_reset(reason);
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn reset_of_the_server_has_the_code_of_its_reason() {
    for (reason, code) in [
        (h2::Reason::REFUSED_STREAM, Code::Unavailable),
        (h2::Reason::CANCEL, Code::Cancelled),
        (h2::Reason::ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (h2::Reason::INADEQUATE_SECURITY, Code::PermissionDenied),
        (h2::Reason::INTERNAL_ERROR, Code::Internal),
        (h2::Reason::PROTOCOL_ERROR, Code::Internal),
    ] {
        for is_after_head in [false, true] {
            let address = serve_resets(reason, is_after_head).await;
            let error = Error::from(upstream(address).unary(echo("a")).await.expect_err("it is reset"));
            assert_eq!(error.code(), code, "{reason:?} {is_after_head}: {error:#}");
        }
    }
}

#[tokio::test]
async fn server_that_closes_the_connection_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut connection = h2::server::handshake(stream).await.expect("it speaks HTTP/2");
            drop(connection.accept().await);
        }
    });
    let error = Error::from(upstream(address).unary(echo("a")).await.expect_err("it is closed"));
    assert_eq!(error.code(), Code::Unavailable, "{error:#}");
    assert!(!error.is_not_sent());
}

// ===== A client of `h2` =====

type Sender = h2::client::SendRequest<Bytes>;

async fn connect(address: SocketAddr) -> Sender {
    let stream = TcpStream::connect(address).await.expect("it accepts");
    let (sender, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    sender.ready().await.expect("it is open")
}

fn head(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::post(format!("http://test{path}")).header("te", "trailers");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).expect("a request")
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

/// Returns the length prefix of a message of `length` bytes.
fn prefix(length: u8) -> Bytes {
    Bytes::copy_from_slice(&[0, 0, 0, 0, length])
}

#[tokio::test]
async fn half_a_message_that_stalls_is_answered_at_the_deadline() {
    let (server, time) = manual();
    let http = http_layer(&server);
    let (address, _shutdown) = serve_echo(http.clone()).await;
    let mut sender = connect(address).await;
    for path in [UNARY, "/ripcord.test.v1.Echo/ServerStream", "/ripcord.test.v1.Echo/ClientStream"] {
        let (response, mut body) =
            sender.send_request(head(path, &[GRPC, ("grpc-timeout", "2S")]), false).expect("open");
        body.send_data(prefix(9), false).expect("it is open");
        body.send_data(Bytes::from_static(&[0x0a]), false).expect("it is open");
        until(|| http.stats().in_flight == 1).await;
        time.advance(2 * SECOND);
        let response = response.await.expect("an answer");
        let status = Status::read(response.headers()).expect("trailers only");
        assert_eq!((response.status().as_u16(), status.code()), (200, Code::DeadlineExceeded), "{path}");
        assert!(response.body().is_end_stream());
        until(|| http.stats().in_flight == 0).await;
    }
}

#[tokio::test]
async fn odd_requests_are_answered_with_a_status() {
    let http = http_layer(&Context::background());
    let (address, _shutdown) = serve_echo(http.clone()).await;
    let mut sender = connect(address).await;
    let long = format!("/{}/x", "a".repeat(5000));
    for (path, headers, code) in [
        ("/", &[GRPC][..], Code::Unimplemented),
        ("//", &[GRPC], Code::Unimplemented),
        ("/ripcord.test.v1.Echo/", &[GRPC], Code::Unimplemented),
        ("/ripcord.test.v1.Echo/Other", &[GRPC], Code::Unimplemented),
        (&long, &[GRPC], Code::Unimplemented),
        (
            UNARY,
            &[("content-type", "application/grpc+thrift"), ("grpc-timeout", "1S"), ("grpc-timeout", "0n")],
            Code::Internal,
        ),
        (UNARY, &[GRPC, ("grpc-encoding", "zstd")], Code::Unimplemented),
        (UNARY, &[GRPC, ("grpc-timeout", "0n"), ("x-bin", "!")], Code::DeadlineExceeded),
    ] {
        let (response, mut body) = sender.send_request(head(path, headers), false).expect("it is open");
        // The server may have answered already.
        let _ = body.send_data(Bytes::from_static(&[1, 0, 0, 0, 1, 7]), true);
        let response = response.await.expect("an answer");
        let status = Status::read(response.headers()).unwrap_or_else(|| panic!("{path}: {response:?}"));
        assert_eq!(status.code(), code, "{path} {headers:?} {status}");
    }
    until(|| http.stats().in_flight == 0).await;
    assert_eq!(http.stats().panicked, 0);
}

// The forwarded stream must not end in order, because it would seem complete. The call must not hang.
#[tokio::test]
async fn malformed_message_in_a_forwarded_stream_fails_the_call() {
    let (upstream, _shutdown) = serve_echo(http_layer(&Context::background())).await;
    let url = format!("http://{upstream}").parse().expect("a URL");
    let echo = EchoServer::new(crate::echo::Echo::new(Some(url)));
    let layer = ServerLayer::new(http_layer(&Context::background()));
    let (address, _shutdown) = serve(layer.layer(Routes::new(echo))).await;
    let mut sender = connect(address).await;
    for path in ["/ripcord.test.v1.Echo/ClientStream", "/ripcord.test.v1.Echo/Bidi"] {
        let (response, mut body) = sender.send_request(head(path, &[GRPC]), false).expect("it is open");
        // First a message with `via_upstream`, then a message with an unfinished field.
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 2, 0x20, 1]), false).expect("it is open");
        body.send_data(Bytes::from_static(&[0, 0, 0, 0, 1, 0xff]), false).expect("it is open");
        let response = response.await.expect("an answer");
        let status = match Status::read(response.headers()) {
            Some(status) => status,
            None => {
                let mut body = response.into_body();
                while let Some(data) = body.data().await {
                    drop(data.expect("it is not reset"));
                }
                let trailers = body.trailers().await.expect("they are whole").expect("there are some");
                Status::read(&trailers).expect("there is one")
            }
        };
        assert_eq!(status.code(), Code::Internal, "{path}: {status}");
    }
}

/// Reads uploads, and reports how they end.
struct Uploads {
    tell: mpsc::UnboundedSender<Result<usize, tonic::Status>>,
    /// Whether a spawned task reads the upload.
    is_spawned: bool,
}

#[tonic::async_trait]
impl Echo for Uploads {
    async fn unary(&self, _: tonic::Request<EchoRequest>) -> Result<Response<EchoReply>, tonic::Status> {
        Err(tonic::Status::unimplemented(""))
    }

    type ServerStreamStream = Streaming<EchoReply>;

    async fn server_stream(
        &self,
        _: tonic::Request<EchoRequest>,
    ) -> Result<Response<Streaming<EchoReply>>, tonic::Status> {
        Err(tonic::Status::unimplemented(""))
    }

    async fn client_stream(
        &self,
        request: tonic::Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, tonic::Status> {
        let tell = self.tell.clone();
        let mut requests = request.into_inner();
        let read = async move {
            let mut count = 0;
            let end = loop {
                match requests.message().await {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => break Ok(count),
                    Err(status) => break Err(status),
                }
            };
            tell.send(end).expect("the test listens");
        };
        if self.is_spawned {
            tokio::spawn(read).await.map_err(|error| tonic::Status::internal(error.to_string()))?;
        } else {
            read.await;
        }
        Ok(Response::new(EchoReply::default()))
    }

    type BidiStream = Streaming<EchoReply>;

    async fn bidi(
        &self,
        _: tonic::Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Streaming<EchoReply>>, tonic::Status> {
        Err(tonic::Status::unimplemented(""))
    }
}

// tonic treats CANCELLED as the end of the stream, and hyper treats NO_ERROR as the end. Half an upload would seem complete.
#[tokio::test]
async fn upload_that_its_client_resets_is_not_complete() {
    for is_spawned in [false, true] {
        let (tell, mut told) = mpsc::unbounded_channel();
        let layer = ServerLayer::new(http_layer(&Context::background()));
        let uploads = EchoServer::new(Uploads { tell, is_spawned });
        let (address, _shutdown) = serve(layer.layer(Routes::new(uploads))).await;
        for reason in [None, Some(h2::Reason::CANCEL), Some(h2::Reason::NO_ERROR), Some(h2::Reason::INTERNAL_ERROR)] {
            let mut sender = connect(address).await;
            let path = "/ripcord.test.v1.Echo/ClientStream";
            let (_response, mut body) = sender.send_request(head(path, &[GRPC]), false).expect("it is open");
            body.send_data(prefix(0), reason.is_none()).expect("it is open");
            match reason {
                None => assert_eq!(told.recv().await.expect("it is told").expect("it is complete"), 1),
                Some(reason) => {
                    body.send_reset(reason);
                    let end = told.recv().await.expect("it is told");
                    let status = end.expect_err("it is not complete");
                    assert_eq!(status.code(), tonic::Code::Aborted, "{reason:?} {is_spawned}");
                }
            }
        }
    }
}
