//! A response whose body obeys the Context.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Extensions, HeaderMap, StatusCode, Version};
use ripcord::Context;
use serde::de::DeserializeOwned;

use super::BytesStream;
use crate::client::error::{Call, Phase, find};
use crate::client::span::CallSpan;
use crate::client::{Error, ResponseBody, under::Under};

/// As reqwest's response, with a body that obeys the Context of the request: see the [module](crate::client).
#[derive(Debug)]
pub struct Response {
    pub(super) response: reqwest::Response,
    pub(super) call: Call,
}

impl Response {
    pub(super) fn new(response: reqwest::Response, call: Call, ctx: Context, span: CallSpan) -> Self {
        // A conversion of reqwest's own, which loses the URL.
        let url = response.url().clone();
        let (mut parts, body) = http::Response::from(response).into_parts();
        let marked = reqwest::ResponseBuilderExt::url(http::Response::builder(), url).body(());
        parts.extensions.extend(marked.expect("a URL is all there is").into_parts().0.extensions);
        let body = ResponseBody::new(body, Some(Under::new(ctx)), Some(call.clone()), span);
        let response = http::Response::from_parts(parts, reqwest::Body::wrap(body));
        Response { response: response.into(), call }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The version of HTTP.
    pub fn version(&self) -> Version {
        self.response.version()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The headers, to be changed.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.response.headers_mut()
    }

    /// The extensions.
    pub fn extensions(&self) -> &Extensions {
        self.response.extensions()
    }

    /// Where it came from in the end, after redirects.
    pub fn url(&self) -> &reqwest::Url {
        self.response.url()
    }

    /// The peer's address, if it is known.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.response.remote_addr()
    }

    /// How many bytes the body has, if it is known.
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Returns the response unless its status is a client error (4xx) or a server error (5xx).
    ///
    /// # Errors
    ///
    /// Returns an error with the response's [`status`](Error::status) and [`headers`](Error::headers). The body is dropped.
    pub fn error_for_status(self) -> Result<Self, Error> {
        let status = self.status();
        if status.is_client_error() || status.is_server_error() {
            let headers = self.response.headers().clone();
            return Err(Error::of_status(status, headers, self.call));
        }
        Ok(self)
    }

    /// The whole body as text, as reqwest decodes it.
    ///
    /// # Errors
    ///
    /// If the Context ends first, and whatever reqwest fails with; this goes for the other readers too.
    pub async fn text(self) -> Result<String, Error> {
        let Response { response, call } = self;
        response.text().await.map_err(|error| read_error(error, call))
    }

    /// The whole body.
    ///
    /// # Errors
    ///
    /// As [`text`](Response::text).
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let Response { response, call } = self;
        response.bytes().await.map_err(|error| read_error(error, call))
    }

    /// The whole body, read as JSON.
    ///
    /// # Errors
    ///
    /// As [`text`](Response::text), and if it is not JSON or not of that type.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let Response { response, call } = self;
        response.json().await.map_err(|error| read_error(error, call))
    }

    /// The next piece of the body; `None` at its end. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`text`](Response::text).
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.response.chunk().await.map_err(|error| read_error(error, self.call.clone()))
    }

    /// The body in pieces, as they come.
    pub fn bytes_stream(self) -> BytesStream {
        BytesStream::new(self)
    }

    /// Reqwest's own response. Its body obeys the Context as well, and fails with errors of reqwest's that have ours as a source.
    pub fn into_inner(self) -> reqwest::Response {
        self.response
    }
}

/// Reqwest hands errors of a body on as sources of its own.
pub(super) fn read_error(error: reqwest::Error, call: Call) -> Error {
    match find::<Error>(&error) {
        Some(ours) => ours.clone(),
        None => Error::client(error.without_url().into(), Phase::Read, Some(call)),
    }
}
