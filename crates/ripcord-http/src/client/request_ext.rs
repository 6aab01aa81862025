//! Sets the context of a request.

#[cfg(feature = "tracing")]
use std::panic::Location;

use http::Request;
use ripcord::Context;

/// Adds a method to [`http::Request`] that sets the [`Context`] for [`ClientLayer`](super::ClientLayer).
///
/// The context is stored in the extensions of the request. A server's [`ContextLayer`](crate::server::ContextLayer) stores the
/// context of a request in the same place. A proxy that forwards the request with its extensions therefore does not need this
/// method.
pub trait RequestExt: Sized {
    /// Sets the context of the request and returns the request. If the request already has a context, replaces it. When the context
    /// ends, [`ClientLayer`](super::ClientLayer) ends the call.
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

/// The line that set the context of a request, as an extension of the request.
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
