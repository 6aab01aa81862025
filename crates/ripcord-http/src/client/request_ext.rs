//! Giving a request its Context.

use http::Request;
use ripcord::Context;

/// Gives a request the [`Context`] that [`ClientLayer`](super::ClientLayer) goes by.
///
/// It is an extension of the request, so a request that came in through a server of ours and is sent on has its own already.
pub trait RequestExt: Sized {
    /// The request under this Context; under no other that it had.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_http::client::RequestExt;
    ///
    /// let request = http::Request::get("http://[::1]/").body(()).unwrap().with_context(&Context::background());
    /// assert!(request.extensions().get::<Context>().is_some());
    /// ```
    #[must_use]
    fn with_context(self, ctx: &Context) -> Self;
}

impl<B> RequestExt for Request<B> {
    fn with_context(mut self, ctx: &Context) -> Self {
        self.extensions_mut().insert(ctx.clone());
        self
    }
}
