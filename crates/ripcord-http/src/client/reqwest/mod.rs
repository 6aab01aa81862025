//! Calls of reqwest under a context: `client.get(url).context(&ctx).send()`.

mod request;
mod response;
mod stream;

pub use request::{ContextRequest, RequestBuilderExt};
pub use response::Response;
pub use stream::BytesStream;
