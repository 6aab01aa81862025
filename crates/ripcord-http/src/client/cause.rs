//! Tells a server why a call was canceled.
//!
//! A cancel reaches the server as a reset stream or a closed connection, and neither carries a text. So the cause is sent in a
//! separate request, the notice. The canceled call is kept until the notice is answered. Otherwise the server would see the reset
//! first.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use http::header::{HOST, HeaderMap};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use ripcord::{Context, Error};
use tower_layer::Layer;
use tower_service::Service;

use crate::RemoteCause;
use crate::trace_context::Traceparent;

/// The time limit for the notice. After this time, the canceled call is dropped in any case.
const LIMIT: Duration = Duration::from_secs(1);

/// A tower layer that tells the server why a call was canceled. Without this layer, the server only sees that its client has
/// disconnected.
///
/// Create it with [`CauseLayer::new`] and place it inside [`ClientLayer`](super::ClientLayer):
///
/// ```
/// use http::{Request, Response};
/// use ripcord_http::client::{CauseLayer, ClientLayer};
/// use tower::{ServiceBuilder, service_fn};
///
/// let client = service_fn(async |_: Request<String>| Ok::<_, std::io::Error>(Response::new(String::new())));
/// let client = ServiceBuilder::new()
///     .layer(ClientLayer::new())
///     .layer(CauseLayer::new(|notice| drop(tokio::spawn(notice))))
///     .service(client);
/// # drop(client);
/// ```
///
/// # What is sent
///
/// If the context of a call is canceled before the response has been read completely, the call fails immediately. In the
/// background, the layer then sends an `OPTIONS` request for the same URI. The header `ripcord-cancel` contains the `traceparent`
/// of the canceled call, and the header [`ripcord-cause`](RemoteCause) contains the cause. The layer closes the connection or
/// stream of the canceled call when the response to the `OPTIONS` request arrives, or after one second.
///
/// A server that [trusts](crate::TrustPolicy) the client and has
/// [`ContextLayer::remote_cancel`](crate::server::ContextLayer::remote_cancel) cancels the request with that cause. Other servers
/// respond to `OPTIONS` as usual.
///
/// For example, service A handles `GET /search` and calls service B with the context of that request. A's client disconnects, so A
/// cancels its call to B. The log of B then contains `client canceled: GET /search: client disconnected`.
///
/// # What is not sent
///
/// - A call without a `traceparent` sends no cause. `ClientLayer` adds the `traceparent` if the context has one.
/// - A call whose deadline passes sends no cause, because the server knows the deadline.
///
/// A response with an empty body, such as a 204, counts as not read completely until it is dropped. If the context is canceled while
/// such a response is held, the layer sends a notice that has no effect.
///
/// Each cancel costs one request. Do not use this layer if calls are canceled often, for example by hedging.
///
/// # reqwest
///
/// Pass the layer to `client::reqwest::ContextRequest::cause_layer`.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put on a client"]
pub struct CauseLayer {
    pub(super) spawn: Spawn,
}

pub(super) type Spawn = Arc<dyn Fn(CancelNotice) + Send + Sync>;

impl CauseLayer {
    /// Creates a layer that passes one [`CancelNotice`] to `spawn` for each canceled call.
    ///
    /// `spawn` must run the notice, which is a future, in the background, as `tokio::spawn` does. `spawn` is called while the
    /// canceled call is being dropped, so it must not panic.
    pub fn new(spawn: impl Fn(CancelNotice) + Send + Sync + 'static) -> Self {
        CauseLayer { spawn: Arc::new(spawn) }
    }
}

impl<S> Layer<S> for CauseLayer {
    type Service = CauseService<S>;

    fn layer(&self, inner: S) -> CauseService<S> {
        CauseService { inner, spawn: Arc::clone(&self.spawn) }
    }
}

/// A tower client that tells the server why a call was canceled. Created by [`CauseLayer`].
#[derive(Clone)]
pub struct CauseService<S> {
    inner: S,
    spawn: Spawn,
}

impl<S, B, R> Service<Request<B>> for CauseService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Default + Send + 'static,
    R: Send + 'static,
{
    type Response = Response<CauseBody<R>>;
    type Error = S::Error;
    type Future = CauseFuture<S::Future>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let unsent = self.unsent(&request);
        CauseFuture::new(self.inner.call(request), unsent)
    }
}

impl<S> CauseService<S> {
    fn unsent<B, R>(&self, call: &Request<B>) -> Option<Unsent>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Default + Send + 'static,
    {
        let ctx = call.extensions().get::<Context>()?;
        let (uri, mut client) = (call.uri().clone(), self.inner.clone());
        Unsent::new(ctx, call.headers(), &self.spawn, async move |headers| {
            std::future::poll_fn(|task| client.poll_ready(task)).await.ok()?;
            let mut notice = Request::new(B::default());
            *notice.method_mut() = Method::OPTIONS;
            *notice.uri_mut() = uri;
            *notice.headers_mut() = headers;
            client.call(notice).await.ok()
        })
    }
}

/// A future that tells the server why a call was canceled. [`CauseLayer`] passes it to the function of [`CauseLayer::new`], which
/// runs it in the background.
///
/// The future completes when the server has responded, or after one second. Then the connection or stream of the canceled call is
/// closed. Dropping the future closes the connection or stream of the canceled call immediately.
#[must_use = "futures do nothing unless polled"]
pub struct CancelNotice(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Future for CancelNotice {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<()> {
        self.0.as_mut().poll(task)
    }
}

/// A notice that is sent if its call is canceled.
pub(super) struct Unsent {
    ctx: Context,
    /// Takes the end of the context and the call. The mutex makes this field `Sync`: a client is not always `Sync`.
    send: Mutex<SendNotice>,
}

type SendNotice = Box<dyn FnOnce(&Error, Box<dyn Send>) + Send>;

impl Unsent {
    /// Prepares the notice for a call with these headers. `send` sends the request with the headers of the notice. Returns `None`
    /// if the call has no `traceparent`, because the server could not find the call's request.
    pub(super) fn new<F: Future + Send + 'static>(
        ctx: &Context,
        call: &HeaderMap,
        spawn: &Spawn,
        send: impl FnOnce(HeaderMap) -> F + Send + 'static,
    ) -> Option<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(RemoteCause::CANCEL_HEADER, call.get(Traceparent::HEADER)?.clone());
        headers.extend(call.get(HOST).map(|host| (HOST, host.clone())));
        let (limit, spawn) = (Context::background().with_clock(ctx.clock()), Arc::clone(spawn));
        let send: SendNotice = Box::new(move |error, call| {
            headers.insert(RemoteCause::HEADER, RemoteCause::from_error(error).to_header());
            let sent = send(headers);
            spawn(CancelNotice(Box::pin(async move {
                // The result does not matter. In any case, the drop of the call cancels the call.
                let _ = limit.with_timeout(LIMIT).run(sent).await;
                drop(call);
            })));
        });
        Some(Unsent { ctx: ctx.clone(), send: Mutex::new(send) })
    }

    /// Sends the notice if the context was canceled, and keeps `call` until then.
    fn send(self, call: impl Send + 'static) {
        if let Some(error) = self.ctx.err().filter(Error::is_canceled) {
            let send = self.send.into_inner().unwrap_or_else(PoisonError::into_inner);
            send(&error, Box::new(call));
        }
    }
}

/// The future of a call. Returned by [`CauseService`]. It resolves to the result of the wrapped client.
///
/// Dropping this future cancels the call. If the context of the call has been canceled before the drop, a [`CancelNotice`] first
/// sends the cause to the server.
#[must_use = "futures do nothing unless polled"]
pub struct CauseFuture<F: Send + 'static> {
    // `None` once the call is ready.
    call: Option<Pin<Box<F>>>,
    unsent: Option<Unsent>,
}

impl<F: Send + 'static> CauseFuture<F> {
    pub(super) fn new(call: F, unsent: Option<Unsent>) -> Self {
        CauseFuture { call: Some(Box::pin(call)), unsent }
    }
}

impl<F, R, E> Future for CauseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>> + Send + 'static,
    R: Send + 'static,
{
    type Output = Result<Response<CauseBody<R>>, E>;

    /// Polls the call.
    ///
    /// # Panics
    ///
    /// Panics if it is polled after it has returned `Ready`.
    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let call = self.call.as_mut().expect("not polled after it was ready");
        let result = ready!(call.as_mut().poll(task));
        self.call = None;
        let unsent = self.unsent.take();
        Poll::Ready(result.map(|response| response.map(|body| CauseBody { body: Some(Box::pin(body)), unsent })))
    }
}

impl<F: Send + 'static> Drop for CauseFuture<F> {
    fn drop(&mut self) {
        if let (Some(call), Some(unsent)) = (self.call.take(), self.unsent.take()) {
            unsent.send(call);
        }
    }
}

/// The body of a response from a [`CauseService`].
///
/// Dropping this body before its end cancels the call. If the context of the call has been canceled before the drop, a
/// [`CancelNotice`] first sends the cause to the server.
pub struct CauseBody<B: Send + 'static> {
    // `None` only during the drop.
    body: Option<Pin<Box<B>>>,
    // `None` after the end of the body or an error.
    unsent: Option<Unsent>,
}

impl<B: Body + Send + 'static> Body for CauseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(body.as_mut().poll_frame(task));
        if body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.unsent = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), |body| body.size_hint())
    }
}

impl<B: Send + 'static> Drop for CauseBody<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(unsent)) = (self.body.take(), self.unsent.take()) {
            unsent.send(body);
        }
    }
}

impl fmt::Debug for CauseLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CauseLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for CauseService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CauseService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Debug for CancelNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelNotice").finish_non_exhaustive()
    }
}

impl<F: Send + 'static> fmt::Debug for CauseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CauseFuture").finish_non_exhaustive()
    }
}

impl<B: Send + 'static> fmt::Debug for CauseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CauseBody").finish_non_exhaustive()
    }
}
