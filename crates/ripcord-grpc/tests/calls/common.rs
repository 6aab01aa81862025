//! Helpers: servers and clients.

use std::convert::Infallible;
use std::future::{Future, IntoFuture as _};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use ripcord::{Clock, Context, ManualTime, Shutdown};
use ripcord_grpc::client::Client;
use ripcord_grpc::{ClientLayer, Code, ServerLayer, Status};
use ripcord_http::TrustPolicy;
use ripcord_http::server::ContextLayer;
use tokio::net::TcpListener;
use tonic::body::Body;
use tower::util::BoxCloneService;
use tower::{Layer as _, ServiceExt as _};

use crate::echo::{Echo, Upstream};
use crate::generated::EchoRequest;
use crate::generated::echo_client::EchoClient;
use crate::generated::echo_server::EchoServer;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const UNARY: &str = "/ripcord.test.v1.Echo/Unary";

/// Returns a server's context and its manual time.
pub(crate) fn manual() -> (Context, ManualTime) {
    let (clock, time) = Clock::manual();
    (Context::background().with_name("server").with_clock(clock), time)
}

pub(crate) fn http_layer(server: &Context) -> ContextLayer {
    ContextLayer::new(server).trust(TrustPolicy::trusted()).name(ripcord_grpc::server::method)
}

pub(crate) fn echo_server() -> EchoServer<Echo> {
    EchoServer::new(Echo::new(None))
}

pub(crate) fn echo(text: &str) -> EchoRequest {
    EchoRequest { text: text.to_owned(), ..EchoRequest::default() }
}

pub(crate) fn delayed(text: &str, delay: Duration) -> EchoRequest {
    EchoRequest { delay_ms: u32::try_from(delay.as_millis()).expect("a short delay"), ..echo(text) }
}

// ===== Without a socket =====

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Wire = BoxCloneService<Request<Body>, Response<Body>, std::io::Error>;

/// Returns a client of `service` in this task. Only headers and bodies are passed to the server and back.
pub(crate) fn client<S, B>(layer: ClientLayer, service: S) -> EchoClient<Client<Wire>>
where
    S: tower::Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let wire = service.map_err(std::io::Error::other).map_response(|response| {
        let (mut parts, body) = response.into_parts();
        parts.extensions.clear();
        Response::from_parts(parts, Body::new(body))
    });
    let wire = wire.map_request(|mut request: Request<Body>| {
        request.extensions_mut().clear();
        request
    });
    EchoClient::new(layer.layer(BoxCloneService::new(wire)))
}

/// An answer that was read completely.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) async fn read<B: http_body::Body<Error: std::fmt::Debug>>(response: Response<B>) -> Self {
        assert_eq!(response.status(), 200);
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body");
        Answer { head: parts.headers, trailers: body.trailers().cloned() }
    }

    pub(crate) fn is_trailers_only(&self) -> bool {
        let content_type = self.head.get("content-type").map(|value| value.as_bytes());
        self.trailers.is_none()
            && self.head.contains_key("grpc-status")
            && content_type == Some(&b"application/grpc"[..])
    }

    pub(crate) fn code(&self) -> Code {
        Status::read(self.trailers.as_ref().unwrap_or(&self.head)).expect("there is a status").code()
    }
}

/// Returns a gRPC request without a message.
pub(crate) fn request(path: &str) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    request.body(Body::empty()).expect("a request")
}

pub(crate) fn with_header(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().expect("a header's value"));
    request
}

/// Sends a request to a handler that is a function of the context.
pub(crate) async fn send<F, R>(layer: &ServerLayer, handler: F, request: Request<Body>) -> Answer
where
    F: Fn(Context) -> R + Clone,
    R: Future<Output = Result<(), tonic::Status>>,
{
    let service = tower::service_fn(move |request: Request<_>| {
        let ctx = request.extensions().get::<Context>().expect("the layer inserted one").clone();
        let result = handler(ctx);
        async move {
            let status = result.await.err().unwrap_or_else(|| tonic::Status::ok(""));
            Ok::<Response<Body>, Infallible>(status.into_http())
        }
    });
    Answer::read(layer.layer(service).oneshot(request).await.expect("an answer")).await
}

// ===== With sockets =====

/// Serves `service` on a free port until the returned shutdown begins.
pub(crate) async fn serve<S, B>(service: S) -> (SocketAddr, Shutdown)
where
    S: tower::Service<
            Request<ripcord_http::server::connection::RequestBody<hyper::body::Incoming>>,
            Response = Response<B>,
        > + Clone
        + Send
        + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let shutdown = Shutdown::builder().build();
    let serving = ripcord_http::serve(listener, service).shutdown(&shutdown).into_future();
    tokio::spawn(serving);
    (address, shutdown)
}

/// Returns the client of the example for an address.
pub(crate) fn upstream(address: SocketAddr) -> Upstream {
    crate::echo::upstream(format!("http://{address}").parse().expect("a URL"))
}

/// Waits until `is_true` holds. The test fails if that takes 30 seconds.
pub(crate) async fn until(mut is_true: impl FnMut() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(30 * SECOND, wait).await.expect("it becomes true");
}
