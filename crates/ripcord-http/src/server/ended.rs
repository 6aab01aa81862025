//! What is answered when a Context has ended.

use std::fmt;

use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};

use super::{ClientDisconnected, layer::Statuses};

/// A handler's answer when its Context has ended, so that `?` is all that a handler has to do.
///
/// | the Context's end | status |
/// |---|---|
/// | its deadline | 504 |
/// | its client has gone | 499, nginx's own, in logs and metrics; 503 to one that has closed its half only, and may still read |
/// | any other cancel: the server is shutting down, somebody called it off | 503 |
///
/// Below a [`ContextLayer`](super::ContextLayer) the statuses are those that it was told. None of the answers tells the cause: it
/// may name what is none of a client's business.
///
/// ```
/// use std::time::Duration;
/// use http::{Response, StatusCode};
/// use ripcord::Context;
/// use ripcord_http::server::Ended;
///
/// async fn handler(ctx: Context) -> Result<&'static str, Ended> {
///     ctx.sleep(Duration::from_secs(10)).await?;
///     Ok("done")
/// }
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let ended = handler(Context::background().with_timeout(Duration::ZERO)).await.unwrap_err();
/// let response: Response<String> = ended.into();
/// assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
/// # })
/// ```
#[derive(Clone, Debug)]
pub struct Ended(ripcord::Error);

impl Ended {
    /// The end of the Context.
    pub fn error(&self) -> &ripcord::Error {
        &self.0
    }

    /// The status for logs and metrics, without a layer's settings.
    pub fn status(&self) -> StatusCode {
        self.status_by(&Statuses::default())
    }

    pub(super) fn status_by(&self, statuses: &Statuses) -> StatusCode {
        if self.0.is_deadline_exceeded() {
            statuses.deadline_exceeded
        } else if is_client_disconnected(&self.0) {
            statuses.client_disconnected
        } else {
            statuses.canceled
        }
    }

    /// What is answered: 499 is none of HTTP's.
    pub(super) fn answer_by(&self, statuses: &Statuses) -> StatusCode {
        if is_client_disconnected(&self.0) { statuses.canceled } else { self.status_by(statuses) }
    }

    /// For a client to read.
    pub(super) fn text(&self) -> &'static str {
        if self.0.is_deadline_exceeded() { "Request timed out" } else { "Request canceled" }
    }
}

pub(super) fn is_client_disconnected(error: &ripcord::Error) -> bool {
    error.cause().is_some_and(|cause| cause.downcast_ref::<ClientDisconnected>().is_some())
}

impl From<ripcord::Error> for Ended {
    fn from(error: ripcord::Error) -> Self {
        Ended(error)
    }
}

impl From<Ended> for ripcord::Error {
    fn from(ended: Ended) -> Self {
        ended.0
    }
}

impl<B: From<&'static str>> From<Ended> for Response<B> {
    fn from(ended: Ended) -> Self {
        let mut response = plain_text(ended.answer_by(&Statuses::default()), ended.text().into());
        // By this the layer knows whose answer it is.
        response.extensions_mut().insert(ended);
        response
    }
}

pub(super) fn plain_text<B>(status: StatusCode, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Ended {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for Ended {
    fn into_response(self) -> axum::response::Response {
        Response::<axum::body::Body>::from(self)
    }
}
