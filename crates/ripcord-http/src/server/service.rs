//! The service that the layer makes.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    task::{self, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{BoxError, ContextBody, ResponseFuture, layer::Settings, panic_message, request::InFlight};

/// What [`ContextLayer`](super::ContextLayer) makes of a service.
///
/// Its responses have a [`ContextBody`], whose error is a boxed one: the body's own, or the [`ripcord::Error`] that cut it short.
#[derive(Clone, Debug)]
pub struct ContextService<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ContextService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data: From<Bytes>, Error: Into<BoxError>>,
{
    type Response = Response<ContextBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let id = (self.settings.make_id)();
        // The name comes before the deadline, since an end is told under the nearest name at or above its beginning.
        let named = self.settings.server.with_name((self.settings.name)(&parts));
        let (mut ctx, cancel) = named.with_value(id.clone()).with_cancel();
        if let Some(timeout) = self.settings.timeout {
            ctx = ctx.with_timeout(timeout);
        }
        parts.extensions.insert(ctx.clone());

        let bodyless = parts.method == Method::HEAD || parts.method == Method::CONNECT;
        let mut request = InFlight::begin(Arc::clone(&self.settings), ctx, cancel, id.to_header());
        if let Some(error) = request.ctx().err() {
            // Nothing begins on a Context that is done.
            return ResponseFuture::refused(request, error, bodyless);
        }
        // Unwind safe: a service that panics in `call` has what it left half done for itself.
        let call = || self.inner.call(Request::from_parts(parts, body));
        match panic::catch_unwind(AssertUnwindSafe(call)) {
            Ok(handler) => ResponseFuture::new(request, handler, bodyless),
            Err(panic) => {
                request.panicked(panic_message(&*panic));
                ResponseFuture::panicked(request, bodyless)
            }
        }
    }
}
