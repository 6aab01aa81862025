//! A request with its context.

use std::panic::Location;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use ripcord::Context;

use super::Response;
use super::response::into_http;
use crate::client::call::{Call, Url};
use crate::client::cause::Unsent;
use crate::client::context_end::ContextEnd;
use crate::client::error::{Error, Phase};
use crate::client::outgoing::Outgoing;
use crate::client::span::CallSpan;
use crate::client::{BaggageFilter, CauseFuture, CauseLayer, ProgressBody};
use crate::deadline::Dialect;

/// Adds the method [`context`](RequestBuilderExt::context) to reqwest's [`RequestBuilder`]. The method sets the [`Context`] of a
/// call. When the context ends, the call ends.
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_http::client::reqwest::RequestBuilderExt;
///
/// # async fn example(client: reqwest::Client) -> Result<(), ripcord_http::client::Error> {
/// let ctx = Context::background().with_timeout(Duration::from_secs(5));
/// let response = client.get("http://localhost:8080/").context(&ctx).send().await?;
/// println!("{}", response.text().await?); // the body observes the context too
/// # Ok(()) }
/// ```
pub trait RequestBuilderExt: Sized {
    /// Sets the context of the call. When the context ends, reqwest's call is dropped, and [`send`](ContextRequest::send) returns
    /// an error. The call sends the time left until the context's deadline, the request ID and the trace to the server.
    ///
    /// The [module `client`](crate::client) lists the headers and describes how a call ends. Set your own headers before you call
    /// this method.
    ///
    /// The call does not restart an [idle timeout](Context::with_idle_timeout) of `ctx` or of its ancestors. Call
    /// [`Context::progress`] after each chunk that you read, or set the call's own
    /// [`idle_timeout`](ContextRequest::idle_timeout).
    ///
    /// On a redirect, reqwest sends the same headers again, with the same time left. If redirects are slow or lead to other hosts,
    /// turn them off in reqwest. [`ClientLayer`](crate::client::ClientLayer) inside a layer that follows redirects sends new
    /// headers each time.
    #[track_caller]
    fn context(self, ctx: &Context) -> ContextRequest;
}

impl RequestBuilderExt for RequestBuilder {
    #[track_caller]
    fn context(self, ctx: &Context) -> ContextRequest {
        ContextRequest { builder: self, ctx: ctx.clone(), outgoing: Outgoing::default(), cause: None }
    }
}

/// A reqwest request with a context. Created by [`RequestBuilderExt::context`].
///
/// Set headers, query and body with reqwest's builder before you call `context`. After that call, use the methods of this type:
///
/// ```no_run
/// use std::time::Duration;
/// use ripcord::Context;
/// use ripcord_http::client::{BaggageFilter, reqwest::RequestBuilderExt};
/// use ripcord_http::deadline::Dialect;
///
/// # async fn example(ctx: Context, client: reqwest::Client) -> Result<(), ripcord_http::client::Error> {
/// let order = client.post("http://localhost:8080/orders").header("content-type", "text/plain").body("one book");
/// let request = order.context(&ctx).dialect(Dialect::GrpcTimeout).baggage(BaggageFilter::all());
/// let response = request.idle_timeout(Duration::from_secs(30)).send().await?;
/// # drop(response); Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct ContextRequest {
    builder: RequestBuilder,
    ctx: Context,
    outgoing: Outgoing,
    cause: Option<CauseLayer>,
}

impl ContextRequest {
    /// Sets the header that carries the time left until the context's deadline. Default: [`Dialect::Plain`], the header
    /// `x-request-timeout-ms`.
    ///
    /// Do not set an [absolute](Dialect::is_absolute) dialect. This crate cannot send absolute dialects, so every call would fail
    /// without being sent.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.outgoing.dialect = dialect;
        self
    }

    /// Sets which members of the context's [`Baggage`](crate::trace_context::Baggage) are sent. Default: none.
    pub fn baggage(mut self, filter: BaggageFilter) -> Self {
        self.outgoing.baggage = filter;
        self
    }

    /// Sets the time after which a call without progress ends. Default: no limit.
    ///
    /// The timer starts with the call. These events are progress and restart the timer:
    ///
    /// - reqwest takes a chunk of a streamed request body to send it. A request body that is not a stream, such as a string, must
    ///   be sent within the timeout.
    /// - The head of the response arrives.
    /// - You read a chunk of the response's body. The timer also runs while you do not read the body.
    ///
    /// The deadline of the context still applies, and so does an [idle timeout](Context::with_idle_timeout) of the context, which
    /// these events do not restart. The idle timeout is not sent to the server. With a timeout of zero, no call is sent.
    /// [`Duration::MAX`] sets no limit.
    ///
    /// A call that exceeds the idle timeout fails with an error for which [`is_deadline_exceeded`](Error::is_deadline_exceeded)
    /// returns `true`. The error contains the idle timeout and the source line that called `idle_timeout`.
    #[track_caller]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.outgoing.idle = Some((timeout, Location::caller()));
        self
    }

    /// Sets the layer that sends the cause to the server if the context of the call is canceled. Default: none, and the server only
    /// sees a disconnect. [`CauseLayer`] describes what is sent.
    ///
    /// ```no_run
    /// use ripcord::Context;
    /// use ripcord_http::client::{CauseLayer, reqwest::RequestBuilderExt};
    ///
    /// # async fn example(ctx: Context, client: reqwest::Client) -> Result<(), ripcord_http::client::Error> {
    /// // Create it once.
    /// let cause = CauseLayer::new(|notice| drop(tokio::spawn(notice)));
    /// let response = client.get("http://localhost:8080/search").context(&ctx).cause_layer(&cause).send().await?;
    /// # drop(response); Ok(()) }
    /// ```
    pub fn cause_layer(mut self, cause: &CauseLayer) -> Self {
        self.cause = Some(cause.clone());
        self
    }

    /// Sends the request and waits for the head of the response.
    ///
    /// If the context ends first, reqwest's call is dropped, and the result is an error. If the response is ready at that moment,
    /// the result is the response. The header with the time left is computed when the future is first polled.
    ///
    /// # Errors
    ///
    /// Returns an error in these cases:
    ///
    /// - The context ends before the head of the response arrives.
    /// - Less time is left than the unit of the deadline header, 1 ms by default.
    /// - The request cannot be built.
    /// - reqwest fails.
    ///
    /// A response with an error status, such as 500, is not an error: see [`Response::error_for_status`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call.
    pub async fn send(self) -> Result<Response, Error> {
        let ContextRequest { builder, ctx, outgoing, cause } = self;
        let ctx = outgoing.call_context(&ctx);
        let (client, request) = builder.build_split();
        let mut request = request.map_err(|error| Error::client(error.into(), Phase::Prepare, None))?;
        let call = Call { method: request.method().clone(), url: Url::Url(request.url().as_str().into()) };
        #[cfg(feature = "tracing")]
        let mut span = CallSpan::begin(&ctx, &call, outgoing.location);
        #[cfg(not(feature = "tracing"))]
        let mut span = CallSpan::default();
        if let Err(reason) = outgoing.write(&ctx, &span, request.headers_mut()) {
            let error = reason.into_error(call);
            span.failed(&error);
            return Err(error);
        }
        #[cfg(feature = "metrics")]
        crate::metrics::call_sent(&ctx, &call);

        let is_idle = outgoing.idle.is_some();
        if is_idle {
            count_chunks(&ctx, request.body_mut());
        }
        let unsent = cause.and_then(|cause| {
            let (client, url) = (client.clone(), request.url().clone());
            let send = move |headers| client.request(Method::OPTIONS, url).headers(headers).send();
            Unsent::new(&ctx, request.headers(), &cause.spawn, send)
        });
        let sent = CauseFuture::new(async move { client.execute(request).await.map(into_http) }, unsent);
        let error = match ctx.run(sent).await {
            Ok(Ok(response)) => {
                span.answered(response.status(), response.version());
                let end = ContextEnd::new(ctx, is_idle);
                end.progress();
                return Ok(Response::new(response, call, end, span));
            }
            // The call names the URL.
            Ok(Err(error)) => Error::client(error.without_url().into(), Phase::Send, Some(call)),
            Err(error) => Error::context(error, Phase::Send, Some(call)),
        };
        span.failed(&error);
        Err(error)
    }
}

/// Reports each chunk of a streamed body as progress of the call of `ctx`. A body of bytes is unchanged, because reqwest can send
/// such a body again after a redirect.
fn count_chunks(ctx: &Context, body: &mut Option<reqwest::Body>) {
    if let Some(streamed) = body.take_if(|body| body.as_bytes().is_none()) {
        *body = Some(reqwest::Body::wrap(ProgressBody::new(streamed, ctx.clone())));
    }
}
