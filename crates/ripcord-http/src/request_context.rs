//! The context of a request, for the layers of `ripcord-policy`.

use http::Request;
use ripcord::Context;

/// Returns a mutable reference to the context in the request's extensions. If there is no context, inserts [`Context::background`].
///
/// Pass this function to `ripcord_policy::tower::PolicyLayer` (feature `tower` of ripcord-policy), which reads and replaces the
/// context of a request. On a server, place `PolicyLayer` inside [`ContextLayer`](crate::server::ContextLayer), which sets the
/// context. On a client, place `PolicyLayer` outside [`ClientLayer`](crate::client::ClientLayer), so that each attempt of a retry
/// sends its own time left.
///
/// ```
/// use std::time::Duration;
/// use http::{Request, Response};
/// use ripcord::Context;
/// use ripcord_http::client::{ClientLayer, RequestExt};
/// use ripcord_http::request_context;
/// use ripcord_policy::tower::PolicyLayer;
/// use ripcord_policy::{CircuitBreaker, Retry, Stack};
/// use tower::{Service, ServiceBuilder, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let stack = Stack::builder()
///     .retry(Retry::builder().max_attempts(3))
///     .breaker(CircuitBreaker::builder("users"))
///     .attempt_timeout(Duration::from_millis(500))
///     .build()?;
///
/// let mut client = ServiceBuilder::new()
///     .layer(PolicyLayer::new(stack, request_context::<String>))
///     .layer(ClientLayer::new())
///     .service(service_fn(|request: Request<String>| async move {
///         let ctx = request.extensions().get::<Context>().expect("the context of the attempt");
///         assert!(ctx.remaining() <= Some(Duration::from_millis(500)));
///         Ok::<_, std::io::Error>(Response::new(String::from("hello")))
///     }));
///
/// let ctx = Context::background().with_timeout(Duration::from_secs(5));
/// let request = Request::get("http://localhost/").body(String::new())?;
/// assert!(client.call(request.with_context(&ctx)).await.is_ok());
/// # Ok(())
/// # }
/// ```
pub fn request_context<B>(request: &mut Request<B>) -> &mut Context {
    request.extensions_mut().get_or_insert_with(Context::background)
}
