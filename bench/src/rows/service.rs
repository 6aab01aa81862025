//! Calls of tower services.

use std::pin::pin;

use tower::{Service, ServiceExt};

use crate::timing::poll_to_end;

/// Waits until the service is ready and calls it, polled by hand.
pub(super) fn call<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    poll_to_end(pin!(call_awaited(service, request)))
}

/// Waits until the service is ready and calls it.
pub(super) async fn call_awaited<S: Service<R>, R>(service: &mut S, request: R) -> Result<S::Response, S::Error> {
    service.ready().await?.call(request).await
}
