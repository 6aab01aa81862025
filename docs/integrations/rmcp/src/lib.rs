//! MCP tool calls under a context, with rmcp. The client and the server use the two halves of this file.

use std::time::Duration;

use futures_util::StreamExt as _;
use ripcord::Context;
use rmcp::{
    ClientHandler, ErrorData, RoleClient, RoleServer,
    handler::client::progress::ProgressDispatcher,
    model::{
        CallToolRequestParams, CallToolResult, ClientRequest, ProgressNotificationParam, Request, RequestMetaObject,
        ServerResult,
    },
    service::{NotificationContext, PeerRequestOptions, RequestContext, RunningService, ServiceError},
};

/// The key of the time left until the deadline, in the `_meta` of a request. In milliseconds.
const TIME_LEFT: &str = "example.com/time-left-ms";

/// The time after the end of a context in which the server is told to cancel the request.
const GRACE: Duration = Duration::from_millis(500);

// ===== The server =====

/// Returns the context of a request. It ends when `server` ends, when the client cancels the request, and at the client's deadline.
#[track_caller]
pub fn request_context(server: &Context, request: &RequestContext<RoleServer>) -> Context {
    let ctx = server.with_name("MCP request").with_cancellation_token(&request.ct);
    match request.meta.get(TIME_LEFT).and_then(|left| left.as_u64()) {
        Some(left) => ctx.with_timeout(Duration::from_millis(left)),
        None => ctx,
    }
}

/// Reports that `done` of `total` steps are done, and restarts the idle timeouts above `ctx`.
///
/// # Errors
///
/// Returns an error if `ctx` ends, or if the connection is closed.
pub async fn report(
    ctx: &Context,
    request: &RequestContext<RoleServer>,
    done: f64,
    total: f64,
) -> Result<(), ErrorData> {
    ctx.progress();
    let Some(token) = request.meta.get_progress_token() else { return Ok(()) };
    let progress = ProgressNotificationParam::new(token, done).with_total(total);
    let sent = ctx.run(request.peer.notify_progress(progress)).await.map_err(failed)?;
    sent.map_err(failed)
}

/// Returns the error of a tool whose context has ended, or whose call has failed.
pub fn failed(error: impl std::error::Error) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

// ===== The client =====

/// The handler of a client that receives progress.
#[derive(Clone, Debug, Default)]
pub struct Client {
    progress: ProgressDispatcher,
}

impl ClientHandler for Client {
    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.handle_notification(progress).await;
    }
}

/// The error of a call.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The context of the call has ended.
    #[error(transparent)]
    Ended(#[from] ripcord::Error),
    /// The server has returned an error, or the connection is closed.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Calls a tool. Each notification of progress restarts the idle timeouts above `ctx`.
///
/// # Errors
///
/// If `ctx` ends, tells the server to cancel the request, with the reason, and returns the error of `ctx`. If the server cannot be told
/// within [`GRACE`], returns the error of `ctx` without it. Returns the server's error if the call fails.
///
/// # Cancel safety
///
/// If the future is dropped, the server is not told to cancel the request. Let the context end instead.
pub async fn call_tool(
    ctx: &Context,
    client: &RunningService<RoleClient, Client>,
    params: CallToolRequestParams,
) -> Result<CallToolResult, Error> {
    let mut meta = RequestMetaObject::new();
    if let Some(left) = ctx.remaining() {
        meta.insert(TIME_LEFT.to_owned(), u64::try_from(left.as_millis()).unwrap_or(u64::MAX).into());
    }
    let request = ClientRequest::CallToolRequest(Request::new(params));
    let options = PeerRequestOptions::no_options().with_meta(meta);
    let mut call = ctx.run(client.send_cancellable_request(request, options)).await??;
    let mut progress = client.service().progress.subscribe(call.progress_token.clone()).await;
    let answer = ctx.run(async {
        loop {
            tokio::select! {
                biased;
                answer = &mut call.rx => return answer,
                Some(_) = progress.next() => { ctx.progress(); }
            }
        }
    });
    match answer.await {
        Ok(answer) => match answer.map_err(|_| ServiceError::TransportClosed)?? {
            ServerResult::CallToolResult(result) => Ok(result),
            _ => Err(ServiceError::UnexpectedResponse.into()), // the server asks the user, which this recipe does not support
        },
        Err(end) => {
            // A server that does not read any more does not hold up the caller.
            let _told = ctx.shielded(GRACE).run(call.cancel(Some(format!("{end:#}")))).await;
            Err(end.into())
        }
    }
}
