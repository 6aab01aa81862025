//! The service.

use std::future::{pending, ready};
use std::pin::Pin;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ripcord::Context;
use ripcord_grpc::ClientLayer;
use ripcord_grpc::client::Client;
use ripcord_grpc::tonic::{RequestExt as _, ResultExt as _};
use ripcord_http::RequestId;
use ripcord_http::trace_context::Traceparent;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};
use tower::Layer as _;

use super::calls::Spawned;
use super::generated::echo_client::EchoClient;
use super::generated::{EchoReply, EchoRequest, echo_server};

type HyperClient = hyper_util::client::legacy::Client<HttpConnector, tonic::body::Body>;

/// A client whose calls end when their context ends.
pub(crate) type Upstream = EchoClient<Client<HyperClient>>;

type Replies = Pin<Box<dyn Stream<Item = Result<EchoReply, Status>> + Send>>;

/// Connects to `url` when it is first called.
pub(crate) fn upstream(url: Uri) -> Upstream {
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    EchoClient::with_origin(ClientLayer::new().layer(http), url)
}

#[derive(Clone)]
pub(crate) struct Echo {
    upstream: Option<Upstream>,
}

impl Echo {
    pub(crate) fn new(url: Option<Uri>) -> Self {
        Echo { upstream: url.map(upstream) }
    }

    fn upstream(&self) -> Result<Upstream, Status> {
        self.upstream.clone().ok_or_else(|| Status::failed_precondition("there is no --upstream"))
    }
}

#[tonic::async_trait]
impl echo_server::Echo for Echo {
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        let ctx = request.context()?;
        let request = request.into_inner();
        if request.via_upstream {
            // The call takes the time left, the ID and the trace from the context.
            return self.upstream()?.unary(Request::new(at_upstream(request)).with_context(&ctx)).await;
        }
        wait(&ctx, &request).await?;
        Ok(Response::new(reply(&ctx, request.text)))
    }

    type ServerStreamStream = Replies;

    async fn server_stream(&self, request: Request<EchoRequest>) -> Result<Response<Replies>, Status> {
        let ctx = request.context()?;
        let request = request.into_inner();
        if request.via_upstream {
            let request = Request::new(at_upstream(request)).with_context(&ctx);
            return Ok(self.upstream()?.server_stream(request).await?.map(Streaming::boxed));
        }
        let replies = stream::iter(0..request.count).then(move |_| {
            let (ctx, request) = (ctx.clone(), request.clone());
            async move {
                wait(&ctx, &request).await?;
                Ok(reply(&ctx, request.text))
            }
        });
        Ok(Response::new(replies.boxed()))
    }

    async fn client_stream(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<EchoReply>, Status> {
        let ctx = request.context()?;
        let mut requests = request.into_inner();
        let mut texts = Vec::new();
        let mut last = EchoRequest::default();
        while let Some(request) = requests.message().await? {
            if request.via_upstream && texts.is_empty() {
                let (requests, mut cut_short) = rest_at_upstream(request, requests);
                let mut upstream = self.upstream()?;
                return tokio::select! {
                    reply = upstream.client_stream(Request::new(requests).with_context(&ctx)) => reply,
                    Some(status) = cut_short.next() => Err(status),
                };
            }
            texts.push(request.text.clone());
            let delay_ms = last.delay_ms.max(request.delay_ms);
            last = EchoRequest { delay_ms, ..request };
        }
        wait(&ctx, &last).await?;
        Ok(Response::new(reply(&ctx, texts.join(" "))))
    }

    type BidiStream = Replies;

    async fn bidi(&self, request: Request<Streaming<EchoRequest>>) -> Result<Response<Replies>, Status> {
        let ctx = request.context()?;
        let echo = self.clone();
        // The client may wait for the head of the response before it sends a message, so the first message is read in the stream.
        let replies = stream::once(async move {
            let mut requests = request.into_inner();
            match requests.message().await? {
                None => Ok::<Replies, Status>(stream::empty().boxed()),
                Some(first) if first.via_upstream => {
                    let (requests, mut cut_short) = rest_at_upstream(first, requests);
                    let mut upstream = echo.upstream()?;
                    let replies = tokio::select! {
                        replies = upstream.bidi(Request::new(requests).with_context(&ctx)) => replies?.into_inner(),
                        Some(status) = cut_short.next() => return Err(status),
                    };
                    Ok(stream::select(replies, cut_short.map(Err)).boxed())
                }
                Some(first) => Ok(answer_each(ctx, stream::iter([Ok(first)]).chain(requests))),
            }
        });
        Ok(Response::new(replies.try_flatten().boxed()))
    }
}

fn answer_each(ctx: Context, requests: impl Stream<Item = Result<EchoRequest, Status>> + Send + 'static) -> Replies {
    let answer = move |request: EchoRequest| {
        let ctx = ctx.clone();
        async move {
            wait(&ctx, &request).await?;
            Ok(reply(&ctx, request.text))
        }
    };
    requests.and_then(answer).boxed()
}

/// Waits before a reply.
async fn wait(ctx: &Context, request: &EchoRequest) -> Result<(), Status> {
    let delay = Duration::from_millis(request.delay_ms.into());
    let task = request.spawn.then(|| {
        let spawned = Spawned::new(ctx);
        ctx.spawn(move |ctx| async move {
            if ctx.sleep(delay).await.is_ok() {
                spawned.complete();
            }
        })
    });
    if request.ignore_context {
        tokio::time::sleep(delay).await;
    } else {
        ctx.sleep(delay).await.or_status()?;
    }
    if let Some(task) = task {
        // The printed line of the call contains the end of the task.
        let _ = task.await;
    }
    Ok(())
}

fn reply(ctx: &Context, text: String) -> EchoReply {
    EchoReply {
        text,
        has_deadline: ctx.deadline().is_some(),
        remaining_ms: ctx.remaining().map_or(0, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        request_id: ctx.value::<RequestId>().map_or_else(String::new, ToString::to_string),
        traceparent: ctx.value::<Traceparent>().map_or_else(String::new, ToString::to_string),
    }
}

fn at_upstream(request: EchoRequest) -> EchoRequest {
    EchoRequest { via_upstream: false, ..request }
}

/// Returns the requests for the upstream, and the status if the request stream is cut short. In that case, the caller must drop the
/// call to the upstream, which resets it. If the stream of requests just ended, the upload would look complete to the upstream.
fn rest_at_upstream(
    first: EchoRequest,
    rest: Streaming<EchoRequest>,
) -> (impl Stream<Item = EchoRequest> + Send + 'static, BoxStream<'static, Status>) {
    let (cut_short, told) = oneshot::channel();
    let told = stream::once(told).filter_map(|status| ready(status.ok()));
    let rest = stream::unfold((rest, cut_short), async |(mut rest, cut_short)| match rest.message().await {
        Ok(request) => Some((request?, (rest, cut_short))),
        Err(status) => {
            // If the receiver was dropped, the call is over.
            let _ = cut_short.send(status);
            pending().await
        }
    });
    (stream::iter([first]).chain(rest).map(at_upstream), told.boxed())
}
