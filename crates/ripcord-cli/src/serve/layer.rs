//! A Context for every request.
//!
//! [`ContextLayer`] gives a request its [`Context`], in the request's extensions, and ends it when the request ends:
//!
//! | what happens | the handler | its Context | the client |
//! |---|---|---|---|
//! | it answers | | cancelled once the body has been sent | its answer |
//! | the deadline passes | dropped | deadline exceeded | 504 |
//! | the server cancels | dropped | canceled, the server's cause | 503 |
//! | it panics | gone | canceled, the panic as the cause | 500 |
//! | the client goes away | dropped | canceled, [`ClientDisconnected`] | |
//!
//! A handler that watches its Context is polled once more before it is dropped, so it can log, and even answer: at the
//! deadline, a result that is ready wins. What it spawned is not dropped with it, but holds the Context, and is told.
//!
//! Known limits: the deadline does not cut a body short once it is being sent, and hyper notices a client going away
//! only while it has nothing left to read from it.

use std::{
    any::Any,
    borrow::Cow,
    fmt,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll, ready},
    time::{Duration, SystemTime},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode},
    response::{IntoResponse, Response},
};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use ripcord::{Canceler, Context, DoneOwned, Value};
use tower::{Layer, Service};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

// ===== ContextLayer =====

/// Gives every request a [`Context`] with a deadline; see the table at the top of this file.
///
/// Apply it with [`Router::layer`](axum::Router::layer), which runs it after the routing: the Context is then named
/// after the route.
#[derive(Clone, Debug)]
pub struct ContextLayer {
    server: Context,
    timeout: Duration,
}

impl ContextLayer {
    /// Requests get `timeout` from their arrival, or what `server` has left if that is less.
    ///
    /// They end when `server` does, see its values, and go by its clock.
    pub fn new(server: &Context, timeout: Duration) -> Self {
        ContextLayer { server: server.clone(), timeout }
    }
}

impl<S> Layer<S> for ContextLayer {
    type Service = ContextService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ContextService { inner, layer: self.clone() }
    }
}

// ===== ContextService =====

/// What [`ContextLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct ContextService<S> {
    inner: S,
    layer: ContextLayer,
}

impl<S> Service<Request> for ContextService<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let id = RequestId::generate();
        // The name comes before the deadline, since an end is told under the nearest name at or above its beginning.
        let (ctx, cancel) = self.layer.server.with_name(route(&request)).with_value(id.clone()).with_cancel();
        let ctx = ctx.with_timeout(self.layer.timeout);
        request.extensions_mut().insert(ctx.clone());
        ResponseFuture {
            done: ctx.done_owned(),
            bodyless: request.method() == Method::HEAD,
            started: false,
            guard: Some(Guard { ctx, cancel, id, finished: false }),
            handler: self.inner.call(request),
        }
    }
}

/// The route as it was written, never the path as it came: names are few.
fn route(request: &Request) -> Cow<'static, str> {
    match request.extensions().get::<MatchedPath>() {
        Some(path) => Cow::Owned(path.as_str().to_owned()),
        None => Cow::Borrowed("no route"),
    }
}

// ===== ResponseFuture =====

pin_project! {
    /// The response to come.
    ///
    /// Dropping it before it is ready is what a server does when the client has gone: it cancels the request's Context
    /// with [`ClientDisconnected`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // Above the handler, for fields are dropped from the top: when the handler's own are dropped, the Context
        // already says why.
        guard: Option<Guard>,
        done: DoneOwned,
        bodyless: bool,
        started: bool,
        #[pin]
        handler: F,
    }
}

impl<F, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = Result<Response, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The end is looked at before the handler and acted on after it. So a handler that watches its Context sees
        // every end that is acted on, gets the last word, and wins the tie.
        let ended = match Pin::new(&mut *this.done).poll(cx) {
            Poll::Ready(error) => Some(error),
            Poll::Pending => None,
        };
        let polled = match &ended {
            // Nothing begins on a Context that is done.
            Some(_) if !*this.started => Ok(Poll::Pending),
            _ => {
                *this.started = true;
                // Unwind safe: after a panic the handler is not polled again.
                panic::catch_unwind(AssertUnwindSafe(|| this.handler.poll(cx)))
            }
        };
        let response = match (polled, ended) {
            (Ok(Poll::Ready(Ok(response))), _) => response,
            (Ok(Poll::Ready(Err(error))), _) => {
                if let Some(guard) = this.guard.take() {
                    guard.finish();
                }
                return Poll::Ready(Err(error));
            }
            (Ok(Poll::Pending), None) => return Poll::Pending,
            (Ok(Poll::Pending), Some(error)) => {
                let guard = this.guard.as_ref().expect("polled after it was ready");
                log::info!("[{}] Request canceled: {error:#}", guard.id);
                Ended(error).into_response()
            }
            (Err(panic), _) => {
                let guard = this.guard.as_ref().expect("polled after it was ready");
                let message = panic_message(&*panic);
                log::error!("[{}] Handler panicked: {message}", guard.id);
                guard.cancel.cancel_with(format!("handler panicked: {message}"));
                (StatusCode::INTERNAL_SERVER_ERROR, "Internal server error").into_response()
            }
        };
        let guard = this.guard.take().expect("polled after it was ready");
        Poll::Ready(Ok(guard.send(response, *this.bodyless)))
    }
}

/// What `panic!` was given, for nearly every panic.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(message) = panic.downcast_ref::<&'static str>() {
        message
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message
    } else {
        "of an unknown kind"
    }
}

// ===== ContextBody =====

pin_project! {
    /// The body of a response, with the Context of its request: that lives until the last byte has been handed over.
    ///
    /// Dropping it before its end cancels the request's Context with [`ClientDisconnected`].
    #[derive(Debug)]
    pub struct ContextBody {
        guard: Option<Guard>,
        // Not to be sent, so dropping it says nothing about the client.
        bodyless: bool,
        #[pin]
        body: Body,
    }

    impl PinnedDrop for ContextBody {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // A body that knows its end is dropped by hyper without being asked again.
            if (*this.bodyless || this.body.is_end_stream())
                && let Some(guard) = this.guard.take()
            {
                guard.finish();
            }
        }
    }
}

impl HttpBody for ContextBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        // An error is the handler's, and ends the body as surely as its end does.
        if !matches!(frame, Some(Ok(_)))
            && let Some(guard) = this.guard.take()
        {
            guard.finish();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// ===== Guard =====

/// Ends the request's Context when the request ends: dropped unfinished, the client has gone.
#[derive(Debug)]
struct Guard {
    ctx: Context,
    cancel: Canceler,
    id: RequestId,
    finished: bool,
}

impl Guard {
    /// Passes the guard on to the body of `response`.
    fn send(self, mut response: Response, bodyless: bool) -> Response {
        response.headers_mut().insert(X_REQUEST_ID, self.id.to_header());
        response.map(|body| Body::new(ContextBody { guard: Some(self), bodyless, body }))
    }

    /// The request is over, and the Context with it; no cause, as when a handler returns in Go.
    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // No effect on a Context that is done: a request given up after its deadline was exceeded, not abandoned.
        self.cancel.cancel_with(ClientDisconnected);
        // The handler is dropped without a word, so the line it would have written is written here.
        if let Some(error) = self.ctx.err() {
            log::info!("[{}] Request canceled: {error:#}", self.id);
        }
    }
}

/// The cause of a request's end when its client has gone away before it was answered.
#[derive(Clone, Copy, Debug)]
pub struct ClientDisconnected;

impl fmt::Display for ClientDisconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client disconnected")
    }
}

impl std::error::Error for ClientDisconnected {}

// ===== Ended =====

/// A handler's answer when its Context has ended: 504 for a deadline, 503 for a cancel.
///
/// The only cancel that a client is there to see is the server's own, on its way out. Neither answer tells the cause:
/// it may name what is none of a client's business.
#[derive(Clone, Debug)]
pub struct Ended(ripcord::Error);

impl From<ripcord::Error> for Ended {
    fn from(error: ripcord::Error) -> Self {
        Ended(error)
    }
}

impl IntoResponse for Ended {
    fn into_response(self) -> Response {
        if self.0.is_deadline_exceeded() {
            (StatusCode::GATEWAY_TIMEOUT, "Request timed out").into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "Request canceled").into_response()
        }
    }
}

// ===== RequestId =====

/// The id of a request: in its Context, in its log lines, in its response as `X-Request-ID`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// `req-` and the Unix time in nanoseconds, or the next number if that one is taken: no two in a process are equal.
    pub fn generate() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);

        let now = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_nanos() as u64);
        let next = |last: u64| now.max(last + 1);
        // Relaxed: the number is all there is to agree on.
        let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        RequestId(format!("req-{}", last.map_or(now, next)).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("an id is letters, digits and a dash")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Value for RequestId {
    // Made to be seen.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn no_two_ids_are_equal() {
        let ids: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..10_000).map(|_| RequestId::generate()).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect()
        });
        let distinct: HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert!(ids.iter().all(|id| id.as_str().starts_with("req-")));
    }
}
