//! SQL under a [`ripcord::Context`]: a deadline or a cancel reaches the database, and the next borrower of a connection gets a clean one.
//!
//! # Features
//!
//! No feature is on by default. A feature only adds items.
//!
//! - `postgres`: a pool of connections to Postgres, on tokio-postgres and deadpool.
//! - `sqlite`: a pool of SQLite connections on threads, on rusqlite, which builds SQLite.
//! - `metrics`: durations of operations, waits for connections and discarded connections, through the facade crate `metrics`.
//! - `tracing`: attributes of OpenTelemetry's database conventions, for `tracing-opentelemetry`. Leave it off unless you export spans
//!   that way.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod call;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod error;
mod guard;
#[cfg(all(feature = "metrics", any(feature = "postgres", feature = "sqlite")))]
mod metrics;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use error::Error;
pub use guard::ConnectionGuard;
#[cfg(all(feature = "metrics", any(feature = "postgres", feature = "sqlite")))]
pub use metrics::describe_metrics;
