//! Retry.

mod error;

pub use error::{RetryError, Stop};
