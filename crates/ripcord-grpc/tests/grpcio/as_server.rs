//! Tests grpcio as the server. This crate's client and the example `echo_server` call it.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use ripcord::Context;
use ripcord_grpc::tonic::{RequestExt as _, StatusExt as _};
use tonic::Status;

use crate::echo::{Upstream, upstream};
use crate::generated::{EchoReply, EchoRequest};
use crate::processes::{Process, Python, echo_server};

const KINDS: [&str; 4] = ["Unary", "ServerStream", "ClientStream", "Bidi"];

fn connect(address: SocketAddr) -> Upstream {
    upstream(format!("http://{address}").parse().expect("a URL"))
}

/// Makes a call of this kind. Returns its only reply.
async fn call(client: &mut Upstream, kind: &str, ctx: &Context, request: EchoRequest) -> Result<EchoReply, Status> {
    let one = || tonic::Request::new(request.clone()).with_context(ctx);
    let several = || tonic::Request::new(stream::iter([request.clone()])).with_context(ctx);
    let mut replies = match kind {
        "Unary" => return Ok(client.unary(one()).await?.into_inner()),
        "ClientStream" => return Ok(client.client_stream(several()).await?.into_inner()),
        "ServerStream" => client.server_stream(one()).await?.into_inner(),
        _ => client.bidi(several()).await?.into_inner(),
    };
    replies.next().await.expect("there is a reply")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn request(text: &str, delay_ms: u32) -> EchoRequest {
    EchoRequest { text: text.to_owned(), delay_ms, count: 1, ..EchoRequest::default() }
}

/// Waits until the server has reported the start and the end of a call of this kind.
#[track_caller]
fn assert_ended(server: &mut Process, kind: &str) {
    // Two threads of the server write the two lines, so the end of a short call may be reported before its start.
    let lines = [server.json(), server.json()];
    let has = |what: &str| lines.iter().any(|line| line[what] == kind);
    assert!(has("started") && has("ended"), "{kind}: {lines:?}");
}

pub(crate) fn all_four_kinds(python: &Python) {
    let (mut server, address) = python.server();
    runtime().block_on(async {
        let mut client = connect(address);
        let ctx = Context::background().with_value(ripcord_http::RequestId::generate());
        let ctx = ctx.with_value(ripcord_http::trace_context::Traceparent::start(true));
        let id = ctx.value::<ripcord_http::RequestId>().expect("there is one").to_string();
        let trace = ctx.value::<ripcord_http::trace_context::Traceparent>().expect("there is one").to_string();
        for kind in KINDS {
            let reply = call(&mut client, kind, &ctx, request("a", 0)).await.expect("it succeeds");
            assert_eq!((reply.text.as_str(), reply.has_deadline, &reply.request_id), ("a", false, &id), "{kind}");
            assert_eq!(reply.traceparent[..36], trace[..36], "{kind}");
            assert_ended(&mut server, kind);
            let timed = ctx.with_timeout(Duration::from_secs(30));
            let reply = call(&mut client, kind, &timed, request("a", 0)).await.expect("it succeeds");
            // grpcio's server rounds the time left up, by at most a tenth of a second.
            assert!(reply.has_deadline && (1..=30_200).contains(&reply.remaining_ms), "{kind}: {reply:?}");
            assert_ended(&mut server, kind);
            let reply = call(&mut client, kind, &timed.without_cancel(), request("a", 0)).await.expect("it succeeds");
            assert!(!reply.has_deadline && reply.request_id == id, "{kind}: {reply:?}");
            assert_ended(&mut server, kind);
        }
    });
}

pub(crate) fn ends(python: &Python) {
    let (mut server, address) = python.server();
    runtime().block_on(async {
        let mut client = connect(address);
        for kind in KINDS {
            let ctx = Context::background().with_timeout(Duration::from_millis(300));
            let status = call(&mut client, kind, &ctx, request("slow", 60_000)).await.expect_err("it is too slow");
            assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{kind}: {status:?}");
            assert_ended(&mut server, kind);

            let (ctx, cancel) = Context::background().with_cancel();
            let mut slow = Box::pin(call(&mut client, kind, &ctx, request("slow", 60_000)));
            // Waits until the server has the call.
            let mut started = None;
            while started.is_none() {
                assert!(futures::poll!(&mut slow).is_pending(), "{kind}");
                tokio::task::yield_now().await;
                started = server.next_json();
            }
            assert_eq!(started.expect("there is one")["started"], kind);
            cancel.cancel_with("the user has left");
            let status = slow.await.expect_err("it is canceled");
            assert_eq!(status.code(), tonic::Code::Cancelled, "{kind}: {status:?}");
            assert!(status.context_error().is_some(), "{kind}");
            // The connection's task sends the reset.
            let mut ended = None;
            while ended.is_none() {
                tokio::task::yield_now().await;
                ended = server.next_json();
            }
            assert_eq!(ended.expect("there is one")["ended"], kind);

            let status =
                call(&mut client, kind, &Context::background(), request("abort", 0)).await.expect_err("a status");
            assert_eq!((status.code(), status.message()), (tonic::Code::DataLoss, "no cheese → 0 %"), "{kind}");
            assert_ended(&mut server, kind);
        }
    });
}

pub(crate) fn between_client_and_server(python: &Python) {
    let (mut server, upstream) = python.server();
    let (mut echo, address) = echo_server(&["--upstream", &format!("http://{upstream}")]);
    python.client(address, &["upstream"]);
    for kind in KINDS {
        for end in ["ok", "failed", "deadline_exceeded", "canceled"] {
            let line = echo.json();
            assert_eq!(line["method"], kind, "{line}");
            // At the deadline, the client's reset may arrive before the server's timer fires.
            assert!(line["end"] == end || (end == "deadline_exceeded" && line["end"] == "canceled"), "{line}");
        }
    }
    // The end of a call also ends the call at the upstream. The upstream's threads report starts and ends in any order.
    let lines: Vec<_> = (0..2 * 4 * KINDS.len()).map(|_| server.json()).collect();
    for kind in KINDS {
        for what in ["started", "ended"] {
            let reports = lines.iter().filter(|line| line[what] == kind).count();
            assert_eq!(reports, 4, "{kind} {what}: {lines:?}");
        }
    }
}
