//! Gives a request its context.

#[cfg(feature = "tracing")]
use std::panic::Location;

use http::Request;
use ripcord::Context;

/// Gives a request the [`Context`] that [`ClientLayer`](super::ClientLayer) uses.
///
/// The context is an extension of the request. A request that arrived through [`ContextLayer`](crate::server::ContextLayer) and is
/// forwarded has one already.
pub trait RequestExt: Sized {
    /// Returns the request with this context, which replaces any other.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_http::client::RequestExt;
    ///
    /// let request = http::Request::get("http://[::1]/").body(()).unwrap().with_context(&Context::background());
    /// assert!(request.extensions().get::<Context>().is_some());
    /// ```
    #[must_use]
    #[track_caller]
    fn with_context(self, ctx: &Context) -> Self;
}

/// The line that gave a request its context, as an extension of the request.
#[cfg(feature = "tracing")]
#[derive(Clone, Copy)]
pub(super) struct CallSite(pub(super) &'static Location<'static>);

impl<B> RequestExt for Request<B> {
    #[track_caller]
    fn with_context(mut self, ctx: &Context) -> Self {
        self.extensions_mut().insert(ctx.clone());
        #[cfg(feature = "tracing")]
        self.extensions_mut().insert(CallSite(Location::caller()));
        self
    }
}
