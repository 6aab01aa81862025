//! The servers of G1: the echo service of ripcord-grpc, answered at once.

use std::io;
use std::time::Duration;

use ripcord_grpc::ServerLayer;
use ripcord_grpc::tonic::RequestExt as _;
use ripcord_http::server::ContextLayer;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tower::Layer as _;

use generated::echo_server::{Echo, EchoServer};
use generated::{EchoReply, EchoRequest};

#[path = "../../../crates/ripcord-grpc/examples/echo_server/service.rs"]
mod generated;

/// Serves with `ripcord_http::serve` and tonic's routes. The handler takes its context.
pub(super) async fn serve_ours(listener: TcpListener, layer: ContextLayer) -> io::Result<()> {
    let routes = Routes::new(EchoServer::new(UnderContext)).prepare();
    let layer = ServerLayer::new(layer.name(ripcord_grpc::server::method));
    ripcord_http::serve(listener, layer.layer(routes)).await;
    Ok(())
}

/// Serves with tonic's own server and its timeout.
pub(super) async fn serve_tonic(listener: TcpListener, timeout: Duration) -> io::Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().timeout(timeout).add_service(EchoServer::new(Plain));
    server.serve_with_incoming(incoming).await.map_err(io::Error::other)
}

#[derive(Debug)]
struct UnderContext;

#[derive(Debug)]
struct Plain;

/// Implements the service with this answer to a unary call.
macro_rules! echo {
    ($service:ident, $unary:expr) => {
        #[tonic::async_trait]
        impl Echo for $service {
            async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
                let reply: fn(Request<EchoRequest>) -> Result<EchoReply, Status> = $unary;
                reply(request).map(Response::new)
            }

            type ServerStreamStream = Streaming<EchoReply>;

            async fn server_stream(&self, _: Request<EchoRequest>) -> Result<Response<Streaming<EchoReply>>, Status> {
                Err(Status::unimplemented("not measured"))
            }

            async fn client_stream(&self, _: Request<Streaming<EchoRequest>>) -> Result<Response<EchoReply>, Status> {
                Err(Status::unimplemented("not measured"))
            }

            type BidiStream = Streaming<EchoReply>;

            async fn bidi(&self, _: Request<Streaming<EchoRequest>>) -> Result<Response<Streaming<EchoReply>>, Status> {
                Err(Status::unimplemented("not measured"))
            }
        }
    };
}

echo!(UnderContext, |request| {
    let ctx = request.context()?;
    Ok(EchoReply { has_deadline: ctx.deadline().is_some(), ..reply(request) })
});
echo!(Plain, |request| Ok(reply(request)));

fn reply(request: Request<EchoRequest>) -> EchoReply {
    EchoReply { text: request.into_inner().text, ..EchoReply::default() }
}
