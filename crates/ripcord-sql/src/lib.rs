//! SQL under a [`ripcord::Context`]: a deadline or a cancel reaches the database, and the next borrower of a connection gets a clean
//! one.
//!
//! # Which item
//!
//! | you want to | use |
//! |---|---|
//! | run statements in Postgres | [`postgres::Pool`] |
//! | run statements in SQLite | [`sqlite::Pool`] |
//! | know whose deadline it was, whether a retry may help, and whether the statement may have taken effect | [`Error`] |
//! | protect the connections of another pool, such as those of sqlx or diesel_async | [`ConnectionGuard`] |
//!
//! # Telemetry
//!
//! Each statement is a [`Span`](ripcord::Span) of the core, named after its first word and the database, such as `SELECT shop`. So the
//! inspector of `ripcord-http` shows it in its tree. A transaction is a span too; statements that are run with its context are below it.
//!
//! With the feature `tracing`, the spans have the attributes of OpenTelemetry's conventions for databases: `db.system.name`,
//! `db.namespace`, `db.operation.name`, `server.address`, `server.port`, `db.response.status_code`, `error.type`, and `db.query.text` if a
//! pool's builder asks for it.
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

/// Tests the README's programs.
#[cfg(all(doctest, feature = "postgres", feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
