//! A response whose body ends when the context ends.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Extensions, HeaderMap, StatusCode, Version};
use serde::de::DeserializeOwned;

use super::BytesStream;
use crate::client::call::Call;
use crate::client::error::Phase;
use crate::client::sources::find;
use crate::client::span::CallSpan;
use crate::client::{CauseBody, Error, ResponseBody, context_end::ContextEnd};

/// A reqwest response whose body ends when the context of the request ends. Returned by
/// [`ContextRequest::send`](super::ContextRequest::send).
///
/// ```no_run
/// use ripcord::Context;
/// use ripcord_http::client::reqwest::RequestBuilderExt;
///
/// # async fn example(ctx: Context, client: reqwest::Client) -> Result<(), ripcord_http::client::Error> {
/// let response = client.get("http://localhost:8080/export").context(&ctx).send().await?;
/// let mut response = response.error_for_status()?;
/// // If the context ends, `chunk` returns an error.
/// while let Some(chunk) = response.chunk().await? {
///     println!("{} bytes", chunk.len());
/// }
/// # Ok(()) }
/// ```
///
/// The methods correspond to the methods of [`reqwest::Response`](::reqwest::Response). Their errors contain the HTTP method and
/// the URL. If the context ended the call, they also contain its [`ripcord::Error`].
#[derive(Debug)]
pub struct Response {
    pub(super) response: reqwest::Response,
    pub(super) call: Call,
}

impl Response {
    pub(super) fn new(
        response: http::Response<CauseBody<reqwest::Body>>,
        call: Call,
        end: ContextEnd,
        span: CallSpan,
    ) -> Self {
        let body = |body| reqwest::Body::wrap(ResponseBody::new(body, Some(end), Some(call.clone()), span));
        Response { response: response.map(body).into(), call }
    }

    /// Returns the status code of the response.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns the HTTP version of the response.
    pub fn version(&self) -> Version {
        self.response.version()
    }

    /// Returns the headers of the response.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns a mutable reference to the headers of the response.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.response.headers_mut()
    }

    /// Returns the extensions of the response: values that reqwest or the underlying client has added, by their type.
    pub fn extensions(&self) -> &Extensions {
        self.response.extensions()
    }

    /// Returns the URL of the response. After redirects, this is the URL of the last request.
    pub fn url(&self) -> &reqwest::Url {
        self.response.url()
    }

    /// Returns the address of the server to which reqwest connected, if it is known.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.response.remote_addr()
    }

    /// Returns the length of the body in bytes, if it is known.
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Returns the response unchanged, unless its status is a client error (4xx) or a server error (5xx).
    ///
    /// # Errors
    ///
    /// For a status of 400 to 599, drops the body and returns an error with the [`status`](Error::status) and the
    /// [`headers`](Error::headers).
    pub fn error_for_status(self) -> Result<Self, Error> {
        let status = self.status();
        if status.is_client_error() || status.is_server_error() {
            let headers = self.response.headers().clone();
            return Err(Error::from_status(status, headers, self.call));
        }
        Ok(self)
    }

    /// Reads the whole body and decodes it to text, like the [method of reqwest's own response](::reqwest::Response::text).
    ///
    /// # Errors
    ///
    /// Returns an error if the context of the request ends before the whole body was read, or if reqwest fails.
    pub async fn text(self) -> Result<String, Error> {
        let Response { response, call } = self;
        response.text().await.map_err(|error| read_error(error, call))
    }

    /// Reads the whole body into memory.
    ///
    /// # Errors
    ///
    /// Returns an error if the context of the request ends before the whole body was read, or if reqwest fails.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let Response { response, call } = self;
        response.bytes().await.map_err(|error| read_error(error, call))
    }

    /// Reads the whole body and deserializes it from JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the context of the request ends before the whole body was read, or if reqwest fails. Also returns an
    /// error if the body is not valid JSON for `T`.
    ///
    /// No method of [`Error`] tells invalid JSON from a lost connection: [`is_body`](Error::is_body) is true for both. To tell them
    /// apart, read the body with [`bytes`](Self::bytes) and deserialize it yourself.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let Response { response, call } = self;
        response.json().await.map_err(|error| read_error(error, call))
    }

    /// Reads the next chunk of the body. Returns `None` at the end of the body.
    ///
    /// # Errors
    ///
    /// Returns an error if the context of the request ends before the whole body was read, or if reqwest fails.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no data.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.response.chunk().await.map_err(|error| read_error(error, self.call.clone()))
    }

    /// Converts the response to a stream of the chunks of its body.
    pub fn bytes_stream(self) -> BytesStream {
        BytesStream::new(self)
    }

    /// Converts this response to reqwest's own response type.
    ///
    /// The body of the returned response still ends when the context ends. The methods of the returned response return reqwest's
    /// errors. If the context ends, this crate's [`Error`] is among the sources of these errors.
    pub fn into_inner(self) -> reqwest::Response {
        self.response
    }
}

/// Converts a response and keeps its URL. reqwest's own conversion loses the URL.
pub(super) fn into_http(response: reqwest::Response) -> http::Response<reqwest::Body> {
    let url = response.url().clone();
    let mut response = http::Response::from(response);
    let marked = reqwest::ResponseBuilderExt::url(http::Response::builder(), url).body(());
    response.extensions_mut().extend(marked.expect("a URL is all there is").into_parts().0.extensions);
    response
}

/// Returns this crate's error if it is among the sources of reqwest's error. Otherwise converts reqwest's error.
pub(super) fn read_error(error: reqwest::Error, call: Call) -> Error {
    match find::<Error>(&error) {
        Some(ours) => ours.clone(),
        None => Error::client(error.without_url().into(), Phase::Read, Some(call)),
    }
}
