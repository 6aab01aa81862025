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

/// Gives reqwest's requests a context.
pub trait RequestBuilderExt: Sized {
    /// Puts the request under a context: the call ends with it, and its headers carry the time left, the request ID and the trace.
    /// The [module](crate::client) describes what is sent and how the call ends.
    ///
    /// Set your own headers before this call. On a redirect, reqwest sends the same headers again. If redirects are slow or lead to
    /// other hosts, use a client that follows none, or [`ClientLayer`](crate::client::ClientLayer) below a layer that follows them.
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

/// A request of reqwest with its context. Returned by [`RequestBuilderExt::context`].
///
/// Set what reqwest itself offers (headers, body, query) before `context`, and what concerns the context after it:
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
    /// An [absolute](Dialect::is_absolute) dialect can only be read: with one, every call fails without being sent.
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        self.outgoing.dialect = dialect;
        self
    }

    /// Selects the context's baggage that is sent. Default: none.
    pub fn baggage(mut self, filter: BaggageFilter) -> Self {
        self.outgoing.baggage = filter;
        self
    }

    /// Sets how long a call may wait for the next part of its response: the head, then each chunk of the body. Default: no limit.
    ///
    /// Each part restarts the time. Sending the request is a part of the wait for the head, so a long upload needs a longer time. The
    /// deadline of the context stays the hard limit. The idle timeout is not sent to the server, and
    /// no call is refused because of it. The error says for how long the call was idle, and reports the line of this call.
    #[track_caller]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.outgoing.idle = Some((timeout, Location::caller()));
        self
    }

    /// Sends the request and waits for the response's head. The time left is taken when the future is first polled.
    ///
    /// A response that is ready when the context ends wins. Dropping the future cancels the call.
    ///
    /// # Errors
    ///
    /// Returns an error if the context ends first, if the request cannot be built, or if reqwest fails.
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
