//! A request that has its Context.

use reqwest::RequestBuilder;
use ripcord::Context;

use super::Response;
use crate::client::BaggageFilter;
use crate::client::error::{Call, Error, Phase, Url};
use crate::client::outgoing::Outgoing;
use crate::client::span::CallSpan;
use crate::deadline::Dialect;

/// Gives reqwest's requests a Context.
pub trait RequestBuilderExt: Sized {
    /// The request under a Context: see the [module](crate::client) for what is sent and how the call ends.
    ///
    /// Headers set by hand go before this. On a redirect reqwest sends the same headers again: where redirects are followed
    /// that take long or leave for somebody else's hosts, use a client that follows none, or [`ClientLayer`](crate::client::ClientLayer)
    /// below a layer that does.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use ripcord::Context;
    /// use ripcord_http::client::reqwest::RequestBuilderExt;
    ///
    /// # async fn example(client: reqwest::Client) -> Result<(), ripcord_http::client::Error> {
    /// let ctx = Context::background().with_timeout(Duration::from_secs(5));
    /// let response = client.get("http://localhost:8080/").context(&ctx).send().await?;
    /// println!("{}", response.text().await?); // the body obeys the Context as well
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

/// A request of reqwest that has its Context, to be sent. Made by [`RequestBuilderExt::context`].
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

    /// Which of the Context's baggage is sent; none otherwise.
    pub fn baggage(mut self, filter: BaggageFilter) -> Self {
        self.outgoing.baggage = filter;
        self
    }

    /// Sends it, and waits for the response's head. What is sent is what is left when this is first polled.
    ///
    /// A response that is ready when the Context's end comes wins. Dropping the future cancels the call.
    ///
    /// # Errors
    ///
    /// If the Context ends first, if the request could not be built, and whatever reqwest fails with.
    pub async fn send(self) -> Result<Response, Error> {
        let ContextRequest { builder, ctx, outgoing } = self;
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

        let error = match ctx.run(client.execute(request)).await {
            Ok(Ok(response)) => {
                span.answered(response.status(), response.version());
                return Ok(Response::new(response, call, ctx, span));
            }
            // The call names the URL.
            Ok(Err(error)) => Error::client(error.without_url().into(), Phase::Send, Some(call)),
            Err(error) => Error::context(error, Phase::Send, Some(call)),
        };
        span.failed(&error);
        Err(error)
    }
}
