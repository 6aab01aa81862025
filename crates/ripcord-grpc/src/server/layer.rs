//! The layer and its settings.

use std::fmt;
use std::time::Duration;

use http::request::Parts;
use ripcord::Context;
use ripcord_http::server::{ContextLayer, Finished};
use tower_layer::Layer;

use super::call::{SentCode, is_grpc};
use super::{Call, CallService, ServerService};
use crate::Metadata;
use crate::metadata::Keys;

/// A tower layer for gRPC servers. It gives every call a [`Context`] that ends when the call ends. If the context ends before the
/// response is complete, for example at its deadline, the layer responds with a gRPC status.
///
/// Create it with [`ServerLayer::new`] from a [`ContextLayer`], which has most of the settings: the time limit, the trust policy,
/// the names of contexts and the inspector. Handlers find the context in the extensions of the request.
///
/// ```
/// use std::time::Duration;
/// use http::{HeaderMap, Request, Response};
/// use ripcord::Context;
/// use ripcord_grpc::{Code, ServerLayer, Status, server};
/// use ripcord_http::server::ContextLayer;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let http = ContextLayer::new(&Context::background()).timeout(Duration::from_secs(5)).name(server::method);
/// let layer = ServerLayer::new(http);
/// // Any service of `http` types: a framework's routes, or a function.
/// let service = layer.layer(service_fn(|request: Request<_>| async move {
///     let ctx = request.extensions().get::<Context>().expect("the layer inserted one");
///     let mut response = Response::new(String::new());
///     match ctx.sleep(Duration::from_secs(60)).await {
///         Ok(()) => Status::new(Code::Ok, "").write(response.headers_mut()),
///         Err(error) => Status::from(error).write(response.headers_mut()),
///     }
///     Ok::<_, std::convert::Infallible>(response)
/// }));
///
/// let request = Request::post("/echo.Echo/Unary").header("content-type", "application/grpc").header("grpc-timeout", "20m");
/// let response = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
/// assert_eq!(Status::read(response.headers()).unwrap().code(), Code::DeadlineExceeded);
/// # }
/// ```
///
/// The client's deadline comes from the header `grpc-timeout`. A header that is malformed or occurs more than once is counted in
/// [`ContextLayer::stats`]. Unless the `ContextLayer` is [strict](ContextLayer::strict), such a header is otherwise ignored. The
/// [module documentation](super) lists the additions to `ContextLayer`.
///
/// Serve the result with `ripcord_http::serve`. If you use tonic's own server, set a [`margin`](ServerLayer::margin).
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put on a service"]
pub struct ServerLayer {
    http: ContextLayer,
    metadata: Keys,
    margin: Duration,
    /// Whether a hook needs the code of the handler's answer.
    notes_code: bool,
}

impl ServerLayer {
    /// Creates a layer with the settings of `http`, such as its time limit and its trust policy.
    pub fn new(http: ContextLayer) -> Self {
        ServerLayer { http, metadata: Keys::default(), margin: Duration::ZERO, notes_code: false }
    }

    /// Reads a value of type `V` from the metadata of trusted clients, and adds it to the context of the call. The metadata key is
    /// [`V::KEY`](Metadata::KEY). Call this method once for each type. Default: no metadata is read.
    ///
    /// The metadata is ignored if the client is not [trusted](ContextLayer::trust), if the value is invalid, or if the key occurs
    /// more than once.
    ///
    /// # Panics
    ///
    /// Panics if the key of `V` is not a header name in lower case, or starts with `grpc-`.
    #[track_caller]
    pub fn metadata<V: Metadata>(mut self) -> Self {
        self.metadata.add::<V>();
        self
    }

    /// Sets how much earlier than the client's deadline a call ends. Default: zero.
    ///
    /// With a margin, the client receives the response before its deadline. If the client's `grpc-timeout` is not longer than the
    /// margin, the response is `DEADLINE_EXCEEDED`, and the handler is not called.
    ///
    /// Set a margin of a few milliseconds if you use tonic's own server. That server also reads `grpc-timeout`. At the deadline, it
    /// stops the call and responds with `CANCELLED`.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Sets a function that is called once for each call, when the response has been sent, was cut short, or can no longer be sent.
    /// Use it for logs and metrics.
    ///
    /// This function replaces the function of [`ContextLayer::on_end`], and is also called for requests that are not gRPC requests.
    /// It runs in the task that serves the connection, so it must not block.
    pub fn on_end(mut self, hook: impl Fn(&Call<'_>) + Send + Sync + 'static) -> Self {
        self.http = self.http.on_end(move |request: &Finished<'_>| hook(&Call::new(request)));
        self.notes_code = true;
        self
    }

    /// Returns the function that adds a call's values to its context.
    fn values(&self) -> impl Fn(Context, &Parts) -> Context + Send + Sync + 'static {
        let metadata = self.http.trust_policy().is_trusted().then(|| self.metadata.clone());
        let notes_code = self.notes_code;
        move |ctx, parts| {
            if !is_grpc(&parts.headers) {
                return ctx;
            }
            let ctx = if notes_code { ctx.with_value(SentCode::new()) } else { ctx };
            match &metadata {
                Some(metadata) => metadata.receive(ctx, &parts.headers),
                None => ctx,
            }
        }
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> ServerService<S> {
        let http = self.http.clone().values(self.values());
        let calls = CallService::new(inner, self.http.trust_policy().is_trusted(), self.notes_code);
        ServerService::new(http.layer(calls), self.margin)
    }
}

impl fmt::Debug for ServerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ServerLayer");
        debug.field("http", &self.http).field("metadata", &self.metadata).field("margin", &self.margin).finish()
    }
}
