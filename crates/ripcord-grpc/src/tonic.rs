//! Extension traits for tonic's requests, results and statuses.
//!
//! ```
//! use std::time::Duration;
//! use ripcord_grpc::tonic::{RequestExt, ResultExt};
//! use tonic::{Request, Response, Status};
//!
//! async fn slow(request: Request<String>) -> Result<Response<String>, Status> {
//!     let ctx = request.context()?;
//!     ctx.sleep(Duration::from_secs(2)).await.or_status()?; // the end of the context is DEADLINE_EXCEEDED or CANCELLED
//!     Ok(Response::new(request.into_inner()))
//! }
//! ```

use std::error::Error as StdError;
use std::sync::Arc;

use ripcord::Context;
use ripcord_http::RemoteCause;
use ripcord_http::server::Ended;
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;

use crate::server::ServerService;
use crate::{Code, Error, Status};

/// Adds methods to tonic's `Request` that read and set the [`Context`] of a call.
pub trait RequestExt: Sized {
    /// Returns the context of the call. On a server, [`ServerLayer`](crate::ServerLayer) has set it.
    ///
    /// # Errors
    ///
    /// Returns a status with the code `INTERNAL` if the request has no context, because there is no `ServerLayer` around the
    /// service.
    fn context(&self) -> Result<Context, tonic::Status>;

    /// Sets the context of the request and returns the request. Replaces an earlier context.
    ///
    /// [`ClientLayer`](crate::ClientLayer) ends the call when `ctx` ends. If `tonic::Request::set_timeout` was called too, the
    /// shorter time is sent to the server.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_grpc::tonic::RequestExt;
    ///
    /// let request = tonic::Request::new("hello").with_context(&Context::background());
    /// assert!(request.context().is_ok());
    /// ```
    #[must_use]
    fn with_context(self, ctx: &Context) -> Self;
}

impl<T> RequestExt for tonic::Request<T> {
    fn context(&self) -> Result<Context, tonic::Status> {
        let ctx = self.extensions().get::<Context>().cloned();
        ctx.ok_or_else(|| {
            tonic::Status::internal("no Context for this call: is there a ServerLayer around its service?")
        })
    }

    fn with_context(mut self, ctx: &Context) -> Self {
        self.extensions_mut().insert(ctx.clone());
        self
    }
}

/// Adds a method to `Result` that converts an error to a tonic status.
///
/// The method exists for every error that converts to [`Ended`]: [`ripcord::Error`], [`ripcord::GroupError`] and, with the feature
/// `policy` of `ripcord-http`, the errors of `ripcord-policy`.
pub trait ResultExt<T> {
    /// Converts the error to a tonic status. Use it with `?` in a handler.
    ///
    /// The error becomes the source of the status and is not sent. If the error says that a context ended, a trusted client
    /// receives the cause in the trailer `ripcord-cause`.
    ///
    /// # Errors
    ///
    /// Returns the status if `self` is an error. [`Ended::grpc_status`] lists the codes.
    fn or_status(self) -> Result<T, tonic::Status>;
}

impl<T, E: Into<Ended>> ResultExt<T> for Result<T, E> {
    fn or_status(self) -> Result<T, tonic::Status> {
        self.map_err(|error| {
            let ended = error.into();
            let mut status = with_source(&Status::from(ended.clone()), ended.clone());
            if let Some(error) = ended.context_error() {
                // `ServerLayer` removes the cause for untrusted clients.
                set_remote_cause(status.metadata_mut(), &RemoteCause::from_error(error));
            }
            status
        })
    }
}

/// Adds methods to tonic's `Status` that return the reason why a call ended.
pub trait StatusExt {
    /// Returns the reason why the server's context ended, if the server has sent the reason in the header or trailer
    /// `ripcord-cause`. Otherwise, returns `None`. A server sends the reason only to clients that it trusts.
    fn remote_cause(&self) -> Option<RemoteCause>;

    /// Returns the error of the context in this process whose end is the reason for this status. Returns `None` for any other
    /// status, such as a status from the server.
    fn context_error(&self) -> Option<&ripcord::Error>;
}

impl StatusExt for tonic::Status {
    fn remote_cause(&self) -> Option<RemoteCause> {
        RemoteCause::find(self.metadata().as_ref())
    }

    fn context_error(&self) -> Option<&ripcord::Error> {
        find::<ripcord::Error>(self)
            .or_else(|| find::<Ended>(self)?.context_error())
            .or_else(|| find::<Error>(self)?.context_error())
    }
}

impl From<tonic::Status> for Error {
    /// Returns the error of this crate's [`ClientLayer`](crate::ClientLayer), if it is among the sources of the status. Otherwise,
    /// the server has sent the status, and the error contains it.
    fn from(status: tonic::Status) -> Self {
        if let Some(error) = find::<Error>(&status) {
            return error.clone();
        }
        let remote_cause = status.remote_cause();
        let ours = Status::new(code(status.code()), status.message().to_owned()).with_remote_cause(remote_cause);
        Error::answered(ours, status)
    }
}

impl From<Error> for tonic::Status {
    /// Returns a status whose source is the error. If the server has sent a status, returns that status unchanged.
    fn from(error: Error) -> Self {
        let mut status = error.tonic().clone();
        if error.source().is_some() {
            status.set_source(Arc::new(error));
        }
        status
    }
}

impl From<Status> for tonic::Status {
    /// Returns a tonic status with the same code, message and [`remote_cause`](Status::remote_cause).
    fn from(status: Status) -> Self {
        let mut tonic = tonic::Status::new(i32::from(status.code().number()).into(), status.message());
        if let Some(cause) = status.remote_cause() {
            set_remote_cause(tonic.metadata_mut(), cause);
        }
        tonic
    }
}

impl<S: NamedService> NamedService for ServerService<S> {
    const NAME: &'static str = S::NAME;
}

/// Returns tonic's status with a source.
pub(crate) fn with_source(status: &Status, source: impl StdError + Send + Sync + 'static) -> tonic::Status {
    let mut tonic = tonic::Status::from(status.clone());
    tonic.set_source(Arc::new(source));
    tonic
}

/// Returns tonic's status for a request stream that was cut short. tonic treats `CANCELLED` as the end of the stream, so a handler
/// would treat half an upload as complete.
pub(crate) fn request_stream(status: &Status, source: impl StdError + Send + Sync + 'static) -> tonic::Status {
    let code = if status.code() == Code::Cancelled { Code::Aborted } else { status.code() };
    with_source(&Status::new(code, status.message().to_owned()), source)
}

fn set_remote_cause(metadata: &mut MetadataMap, cause: &RemoteCause) {
    metadata.as_mut().insert(RemoteCause::HEADER, cause.to_header());
}

fn code(code: tonic::Code) -> Code {
    Code::from_number(code as u64)
}

/// Returns the first error of this type among the sources of a status.
fn find<E: StdError + 'static>(status: &tonic::Status) -> Option<&E> {
    std::iter::successors(status.source(), |&error| error.source()).find_map(|error| error.downcast_ref())
}
