//! Telling a request which connection it came over.

use std::task::{self, Poll};

use http::Request;
use tower_service::Service;

use super::peer::Peer;

/// A service whose requests know the connection that they came over: see [`Watch::service`](super::Watch::service).
#[derive(Clone, Debug)]
pub struct WatchedService<S> {
    inner: S,
    peer: Peer,
}

impl<S> WatchedService<S> {
    pub(super) fn new(inner: S, peer: Peer) -> Self {
        WatchedService { inner, peer }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WatchedService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, task: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.inner.call(request)
    }
}
