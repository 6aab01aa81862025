//! A request with its context.

use std::panic::Location;
use std::time::Duration;

use reqwest::RequestBuilder;
use ripcord::Context;

use super::Response;
use crate::client::BaggageFilter;
use crate::client::call::{Call, Url};
use crate::client::context_end::ContextEnd;
use crate::client::error::{Error, Phase};
use crate::client::outgoing::Outgoing;
use crate::client::span::CallSpan;
use crate::deadline::Dialect;

/// Adds the method [`context`](RequestBuilderExt::context) to reqwest's [`RequestBuilder`].
pub trait RequestBuilderExt: Sized {
    /// Sets the context of the call. The call ends when the context ends, and sends the time left, the request ID and the trace.
    ///
    /// The [module `client`](crate::client) lists the headers and describes how a call ends. Set your own headers before you call
    /// this method.
    ///
    /// On a redirect, reqwest sends the same headers again, with the same time left. If redirects are slow or lead to other hosts,
    /// turn them off in reqwest. [`ClientLayer`](crate::client::ClientLayer) inside a layer that follows redirects sends new
    /// headers each time.
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
    #[track_caller]
    fn context(self, ctx: &Context) -> ContextRequest;
}

impl RequestBuilderExt for RequestBuilder {
    #[track_caller]
    fn context(self, ctx: &Context) -> ContextRequest {
        ContextRequest { builder: self, ctx: ctx.clone(), outgoing: Outgoing::default() }
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
}

impl ContextRequest {
    /// Sets the header that carries the time left. Default: [`Dialect::Plain`].
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

    /// Sets how long a call may wait for the next part of its response: the head, then each chunk of the body. Default: no limit.
    ///
    /// Each part restarts the timer. The wait for the head includes the time to send the request, so a long upload needs a longer
    /// timeout. The deadline of the context still applies. Only the deadline is sent to the server.
    ///
    /// A call that exceeds the idle timeout fails with an error for which [`is_deadline_exceeded`](Error::is_deadline_exceeded)
    /// returns `true`. The error contains the idle timeout and the source line that called `idle_timeout`.
    ///
    /// The error contains the idle time and the source line that called `idle_timeout`.
    #[track_caller]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.outgoing.idle = Some((timeout, Location::caller()));
        self
    }

    /// Sends the request and waits for the head of the response.
    ///
    /// The header with the time left is computed when the future is first polled. If the response is ready when the context ends,
    /// the response is returned.
    ///
    /// # Errors
    ///
    /// Returns an error if the context ends before the head of the response arrives, if no time is left to send the request, if the
    /// request cannot be built, or if reqwest fails. A response with an error status, such as 500, is not an error: see
    /// [`Response::error_for_status`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the call.
    pub async fn send(self) -> Result<Response, Error> {
        let ContextRequest { builder, ctx, outgoing } = self;
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

        let error = match ctx.run(client.execute(request)).await {
            Ok(Ok(response)) => {
                span.answered(response.status(), response.version());
                let end = ContextEnd::new(ctx, outgoing.idle.is_some());
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
