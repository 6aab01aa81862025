//! A gRPC echo server: the service of `proto/echo.proto`, over HTTP/2 without TLS. For each call, it shows the deadline, the ID
//! and the trace, and how the call ends. A call can also call another server, the upstream.
//!
//! `cargo run -p ripcord-grpc --example echo_server -- --listen 127.0.0.1:50051 [--upstream http://127.0.0.1:50052]`
//!
//! It prints one line of JSON per call. After SIGTERM or Ctrl-C, it exits when the calls in flight are over, or after 10 seconds.

#![expect(clippy::print_stderr, reason = "printing is what an example does")]

mod calls;
mod echo;
#[path = "service.rs"]
mod generated;

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use echo::Echo;
use generated::echo_server::EchoServer;
use http::{Request, Uri};
use ripcord::{Context, Shutdown};
use ripcord_grpc::{ServerLayer, server};
use ripcord_http::server::ContextLayer;
use ripcord_http::{PeerAddr, TrustPolicy};
use tonic::service::Routes;
use tower::Layer as _;
use tower::steer::Steer;

const USAGE: &str = "usage: echo_server --listen ADDRESS [--upstream URL]";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_server: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let Options { listen, upstream } = options()?;
    let shutdown = Shutdown::builder().drain(Duration::from_secs(10)).build();
    shutdown.on_signals()?;

    let routes = Routes::new(EchoServer::new(Echo::new(upstream))).prepare();
    // Only a client on this machine is trusted.
    let by_trust = [TrustPolicy::untrusted(), TrustPolicy::trusted()]
        .map(|trust| layer(shutdown.context(), trust).layer(routes.clone()));
    let service = Steer::new(by_trust, |request: &Request<_>, _: &[_]| usize::from(is_loopback(request)));

    let listener = ripcord_http::listen(&*listen).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    ripcord_http::serve(listener, service).shutdown(&shutdown).await;
    shutdown.run().await;
    Ok(())
}

fn layer(ctx: &Context, trust: TrustPolicy) -> ServerLayer {
    let http = ContextLayer::new(ctx).trust(trust).name(server::method).values(|ctx, _| calls::begin(&ctx));
    // The response at the deadline is sent before the client's deadline.
    ServerLayer::new(http).margin(Duration::from_millis(5)).on_end(|call| calls::end(call, print))
}

fn is_loopback<B>(request: &Request<B>) -> bool {
    request.extensions().get::<PeerAddr>().is_some_and(|peer| peer.0.ip().to_canonical().is_loopback())
}

/// Prints a line and flushes it. An error is ignored, because then nothing reads the output.
fn print(line: &str) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

struct Options {
    listen: String,
    upstream: Option<Uri>,
}

fn options() -> Result<Options, String> {
    let (mut listen, mut upstream) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--listen" => listen = Some(value()?),
            "--upstream" => upstream = Some(url(&value()?)?),
            _ => return Err(format!("unknown argument {argument}\n{USAGE}")),
        }
    }
    Ok(Options { listen: listen.ok_or(USAGE)?, upstream })
}

fn url(text: &str) -> Result<Uri, String> {
    let url = text.parse::<Uri>().ok().filter(|url| url.scheme_str() == Some("http") && url.host().is_some());
    url.ok_or_else(|| format!("{text} is no URL such as http://127.0.0.1:50051"))
}
