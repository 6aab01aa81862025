//! reqwest calls that end when a context ends: `client.get(url).context(&ctx).send()`.
//!
//! [`RequestBuilderExt::context`] is the entry point. The [module `client`](crate::client) lists the headers that a call sends.

mod request;
mod response;
mod stream;

pub use request::{ContextRequest, RequestBuilderExt};
pub use response::Response;
pub use stream::BytesStream;
