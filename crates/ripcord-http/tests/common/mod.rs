//! Helpers for tests over real sockets.

use std::convert::Infallible;
use std::net::SocketAddr;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

pub(crate) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Serves `handler` on a free port until the runtime ends, without a layer of this crate.
pub(crate) async fn serve<F, R>(handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let handler = handler.clone();
            let service = service_fn(move |request| {
                let answer = handler(request);
                async { Ok::<_, Infallible>(answer.await) }
            });
            // The error is ignored, because some tests disconnect.
            tokio::spawn(async { http1::Builder::new().serve_connection(TokioIo::new(stream), service).await });
        }
    });
    address
}

pub(crate) fn answer(text: impl Into<Bytes>) -> Answer {
    Response::new(http_body_util::Full::new(text.into()).boxed())
}
