//! Where a request's deadline came from.

use std::{error::Error, fmt};

use ripcord::Context;

use super::life::Handle;

/// Where the deadline came from that a request has: for logs, and for who wonders why it is so short.
///
/// Of one that came in a header it is the cause, so that an error tells it.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use ripcord::Context;
/// use ripcord_http::server::{ContextLayer, DeadlineSource};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let layer = ContextLayer::new(&Context::background()).timeout(Duration::from_secs(5));
/// let service = ServiceBuilder::new().layer(layer).service(service_fn(|request: Request<String>| async move {
///     let ctx = request.extensions().get::<Context>().expect("the layer gave one");
///     assert_eq!(DeadlineSource::of(ctx), DeadlineSource::Header("grpc-timeout"));
///     Ok::<_, std::convert::Infallible>(Response::new(String::new()))
/// }));
/// let request = Request::builder().header("grpc-timeout", "250m").body(String::new()).unwrap();
/// service.oneshot(request).await.unwrap();
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadlineSource {
    /// There is no deadline.
    None,
    /// The server's own limit; the client asked for none.
    Local,
    /// The client asked for it, in this header.
    Header(&'static str),
    /// The client asked for more, in this header, than the server's own limit.
    Clamped(&'static str),
}

impl DeadlineSource {
    /// Of the request that `ctx` belongs to; `None` if it belongs to none.
    pub fn of(ctx: &Context) -> Self {
        ctx.value::<Handle>().map_or(DeadlineSource::None, |handle| handle.source)
    }
}

impl fmt::Display for DeadlineSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeadlineSource::None => f.write_str("no deadline"),
            DeadlineSource::Local => f.write_str("the server's limit"),
            DeadlineSource::Header(header) => write!(f, "the client's {header}"),
            DeadlineSource::Clamped(header) => write!(f, "the server's limit, below the client's {header}"),
        }
    }
}

impl Error for DeadlineSource {}
