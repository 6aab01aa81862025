//! The routes below `/debug/contexts`.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{OriginalUri, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};
use ripcord::Cause;
use serde::Serialize;

use super::access::{Denied, Pass, Visitor, check_origin, check_same_origin};
use super::entry::Entry;
use super::events::EventStream;
use super::snapshot::one;
use super::{Inspector, Shared, page};

type Shown = State<Arc<Shared>>;

/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (http::header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

impl Inspector {
    /// Returns an axum router with the page and its data. Nest the router under a path, by convention `/debug/contexts`.
    ///
    /// ```
    /// use axum::Router;
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let inspector = Inspector::new();
    /// let app: Router = Router::new().nest("/debug/contexts", inspector.router());
    /// ```
    ///
    /// Nest the router outside of [`ContextLayer`](crate::server::ContextLayer). Inside the layer, the page would show its own
    /// requests, and the timeout of the layer would end its event stream.
    ///
    /// | request | response |
    /// |---|---|
    /// | `GET /debug/contexts` | the page |
    /// | `GET /debug/contexts/json` | a snapshot of the entries as JSON, as described in the [README](https://docs.rs/crate/ripcord-http/latest/source/README.md) |
    /// | `GET /debug/contexts/json/{id}` | one entry with all its calls, as JSON |
    /// | `GET /debug/contexts/events` | a snapshot of the entries at each [interval](super::InspectorBuilder::interval), as server-sent events |
    /// | `POST /debug/contexts/cancel/{id}` | cancels the context of the entry |
    ///
    /// At most 32 event streams can be open, and a further request for one gets status 503. Each stream ends after a minute, or
    /// after four intervals if they are longer, and the page reconnects. axum does not pass `/debug/contexts/`, with a slash at the
    /// end, to nested routers.
    ///
    /// Without a token, the router needs the address of the client in the extension `axum::extract::ConnectInfo<SocketAddr>`.
    /// `ripcord_http::serve` inserts it. With `axum::serve`, call `into_make_service_with_connect_info::<SocketAddr>()`.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let routes = Router::new()
            .route("/", get(show_page))
            .route("/json", get(show_json))
            .route("/json/{id}", get(show_one))
            .route("/events", get(show_events))
            .route("/cancel/{id}", post(cancel))
            .fallback(not_found)
            .with_state(Arc::clone(&self.shared));
        self.protect(routes)
    }

    /// Returns `router` with the [access rules](super) and the security headers of the inspector, for other pages that only an
    /// operator may see. Everyone with access to the inspector also has access to these pages, with the same token.
    ///
    /// The rules do not apply to routes that you add to the returned router.
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use ripcord_http::inspector::Inspector;
    ///
    /// let inspector = Inspector::new();
    /// let jobs: Router = inspector.protect(Router::new().route("/", get(async || "no jobs")));
    /// let app: Router = Router::new().nest("/debug/contexts", inspector.router()).nest("/debug/jobs", jobs);
    /// ```
    pub fn protect<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        router.layer(middleware::from_fn_with_state(Arc::clone(&self.shared), guard))
    }

    /// Returns the snapshot that `GET /debug/contexts/json` returns, without the calls of the finished entries. Use it to show the
    /// entries of this process in another place, for example on a page for several processes.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.shared.snapshot(false)).expect("a snapshot is serializable")
    }
}

/// Applies the access rules, and adds the security headers to every answer.
async fn guard(State(shared): Shown, OriginalUri(uri): OriginalUri, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_page = parts.uri.path() == "/";
    // A link on another site may open the page.
    let same_origin = if is_page { check_origin(&parts) } else { check_same_origin(&parts) };
    let mut response = match same_origin.and_then(|()| shared.access.check(&parts)) {
        Err(denied) => denied.into_response(),
        Ok((visitor, pass)) => {
            parts.extensions.insert(visitor);
            let mut response = next.run(Request::from_parts(parts, body)).await;
            if is_page
                && pass == Pass::Token
                && let Some(cookie) = shared.access.cookie(uri.path())
                && let Ok(cookie) = HeaderValue::from_str(&cookie)
            {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            response
        }
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        (StatusCode::FORBIDDEN, format!("{self}\n")).into_response()
    }
}

async fn show_page() -> Response {
    let page = page::render();
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8".to_owned()), (CONTENT_SECURITY_POLICY, page.policy)];
    (headers, page.html).into_response()
}

async fn show_json(State(shared): Shown) -> Response {
    json(StatusCode::OK, &shared.snapshot(true))
}

async fn show_one(State(shared): Shown, Path(id): Path<String>) -> Response {
    match id.parse().ok().and_then(|id| one(&shared.registry, &shared.tasks(), id)) {
        Some(one) => json(StatusCode::OK, &one),
        None => gone(),
    }
}

async fn show_events(State(shared): Shown) -> Response {
    let Some(stream) = EventStream::new(shared) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "Too many event streams are open.\n").into_response();
    };
    // Without this header, nginx would buffer the events.
    let headers = [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, Body::new(stream)).into_response()
}

async fn cancel(State(shared): Shown, Extension(visitor): Extension<Visitor>, Path(id): Path<String>) -> Response {
    let entry = id.parse().ok().and_then(|id| shared.registry.find(id));
    let Some(Entry { ctx, cancel, .. }) = entry else { return gone() };
    let ours = Cause::from(CanceledHere { by: visitor.0 });
    cancel.cancel_at(ours.clone(), shared.location);
    // Another cancel may have been first. The context has the cause of the first cancel.
    let cause = ctx.cause().unwrap_or_else(|| ours.clone());
    if std::ptr::addr_eq(cause.as_error(), ours.as_error()) {
        shared.count_canceled();
        json(StatusCode::OK, &Canceled { canceled: true, because: None })
    } else {
        let because = format!("the context had already ended: {cause}");
        json(StatusCode::CONFLICT, &Canceled { canceled: false, because: Some(because.into()) })
    }
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "The inspector has no such path.\n").into_response()
}

fn gone() -> Response {
    json(StatusCode::NOT_FOUND, &Canceled { canceled: false, because: Some("there is no such entry".into()) })
}

#[derive(Serialize)]
struct Canceled {
    canceled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<Cow<'static, str>>,
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("a snapshot is serializable");
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The cause with which a context ends if its entry in an [`Inspector`] is canceled: with the button on the page, or with a `POST`
/// request to the [router](Inspector::router).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanceledHere {
    by: Option<IpAddr>,
}

impl CanceledHere {
    /// Returns the IP address of the client that canceled the context. Returns `None` if the server does not know the address.
    pub fn by(&self) -> Option<IpAddr> {
        self.by
    }
}

impl fmt::Display for CanceledHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.by {
            Some(by) => write!(f, "canceled from the inspector by {by}"),
            None => f.write_str("canceled from the inspector"),
        }
    }
}

impl std::error::Error for CanceledHere {}
