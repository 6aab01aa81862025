//! Calls of the Kubernetes API under a context, with kube.

use kube::{Client, client::Body};
use ripcord::Context;
use ripcord_http::client::{ClientLayer, RequestExt as _};
use tower::{Layer as _, ServiceExt as _, service_fn};

/// Returns a client whose calls end when `ctx` ends, also while they read a body or watch resources. Each call sends the request ID and
/// the trace of `ctx`.
///
/// The returned client uses the connections of `client`. It is made for the calls below one context: create it where the context is
/// created, and drop it with the context.
#[track_caller]
pub fn under(ctx: &Context, client: &Client) -> Client {
    let (ctx, inner) = (ctx.clone(), client.clone());
    let send = service_fn(move |request| {
        let inner = inner.clone();
        async move { inner.send(request).await }
    });
    let service = ClientLayer::new().layer(send);
    let service = service.map_request(move |request: http::Request<Body>| request.with_context(&ctx));
    Client::new(service, client.default_namespace())
}

/// Returns the error of the context that has ended a call, if a context has.
pub fn ended(error: &kube::Error) -> Option<&ripcord::Error> {
    ripcord::Error::find_in(error)
}
