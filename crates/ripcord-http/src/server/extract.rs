//! Extractors for axum's handlers.

use std::{any::type_name, borrow::Cow, convert::Infallible, ops::Deref};

use axum::{
    extract::{FromRequestParts, MatchedPath, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use ripcord::{Context, Value};

use super::{ended::plain_text, settings::method};

/// An axum extractor for the [`Context`] of the request.
///
/// If there is no [`ContextLayer`](super::ContextLayer) around the handler, the handler is not called, and the response has status
/// 500.
///
/// ```
/// use std::time::Duration;
/// use ripcord_http::server::{Ctx, Ended};
///
/// async fn handler(Ctx(ctx): Ctx) -> Result<&'static str, Ended> {
///     ctx.sleep(Duration::from_secs(2)).await?;
///     Ok("done")
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(handler));
/// ```
#[derive(Clone, Debug)]
pub struct Ctx(
    /// The context of the request.
    pub Context,
);

/// An axum extractor that clones a value of type `V` from the [`Context`] of the request.
///
/// If the context has no such value, the handler is not called, and the response has status 500. Use `Option<CtxValue<V>>` for an
/// optional value.
///
/// ```
/// use ripcord_http::{RequestId, server::CtxValue};
///
/// async fn handler(CtxValue(id): CtxValue<RequestId>) -> String {
///     format!("your request is {id}")
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(handler));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CtxValue<V>(
    /// A clone of the context's value.
    pub V,
);

impl Deref for Ctx {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.0
    }
}

impl<V> Deref for CtxValue<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Ctx {
    type Rejection = CtxRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, CtxRejection> {
        parts.extensions.get::<Context>().cloned().map(Ctx).ok_or(CtxRejection { type_name: type_name::<Context>() })
    }
}

impl<S: Sync, V: Value + Clone> FromRequestParts<S> for CtxValue<V> {
    type Rejection = CtxRejection;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, CtxRejection> {
        value(parts).map(CtxValue).ok_or(CtxRejection { type_name: type_name::<V>() })
    }
}

impl<S: Sync, V: Value + Clone> OptionalFromRequestParts<S> for CtxValue<V> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(value(parts).map(CtxValue))
    }
}

fn value<V: Value + Clone>(parts: &Parts) -> Option<V> {
    parts.extensions.get::<Context>()?.value::<V>().cloned()
}

/// The rejection of the extractors [`Ctx`] and [`CtxValue`]: the request has no context, or the context has no value of the type
/// `V` in `CtxValue<V>`.
///
/// As a response, it has status 500.
#[derive(Clone, Debug)]
pub struct CtxRejection {
    type_name: &'static str,
}

impl std::fmt::Display for CtxRejection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "no {} for this request: is there a ContextLayer around its handler?", self.type_name)
    }
}

impl std::error::Error for CtxRejection {}

impl IntoResponse for CtxRejection {
    fn into_response(self) -> Response {
        plain_text(StatusCode::INTERNAL_SERVER_ERROR, self.to_string().into())
    }
}

/// Returns the axum route of a request, such as `/users/{id}`, or `unmatched` if no route matched. `parts` is the head of the
/// request.
///
/// Pass this function to [`ContextLayer::name`](super::ContextLayer::name). The result never contains the actual path of the
/// request.
pub fn matched_path(parts: &Parts) -> Cow<'static, str> {
    match parts.extensions.get::<MatchedPath>() {
        Some(path) => Cow::Owned(path.as_str().to_owned()),
        None => Cow::Borrowed("unmatched"),
    }
}

/// Returns the method and the axum route of a request, such as `GET /users/{id}`. `parts` is the head of the request.
///
/// Pass this function to [`ContextLayer::name`](super::ContextLayer::name). A method that is not standard is replaced by `OTHER`.
/// The route is the result of [`matched_path`].
pub fn method_and_path(parts: &Parts) -> Cow<'static, str> {
    Cow::Owned(format!("{} {}", method(parts), matched_path(parts)))
}
