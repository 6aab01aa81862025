//! Connection pools for Postgres and SQLite whose operations end with a [`ripcord::Context`].
//!
//! When the context of an operation ends, at its deadline or by a cancel, the statement is stopped in the database. The connection
//! returns to its pool only when no statement runs on it and no transaction is open.
//!
//! The guide in `docs/guide` of the repository has a chapter about SQL.
//!
//! # Usage
//!
//! ```toml
//! [dependencies]
//! ripcord = "0.1"
//! ripcord-sql = { version = "0.1", features = ["postgres"] }   # or "sqlite"
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! The README of the crate has a whole program.
//!
//! # Which item
//!
//! | you want to | use |
//! |---|---|
//! | run statements in Postgres | [`postgres::Pool`] |
//! | run statements in SQLite | [`sqlite::Pool`] |
//! | find out which context ended, whether a retry may help, and whether the statement may have taken effect | [`Error`] |
//! | protect the connections of another pool, such as a pool of sqlx or diesel_async | [`ConnectionGuard`] |
//!
//! # Telemetry
//!
//! Each statement has a [`ripcord::Span`], which the inspector of `ripcord-http` shows. The name of the span consists of the first
//! word of the statement and the name of the database, such as `SELECT shop`. A transaction has a span too. The spans of statements
//! that use the transaction's context are children of that span.
//!
//! With the feature `tracing`, the spans have the attributes of OpenTelemetry's conventions for databases: `db.system.name`,
//! `db.namespace`, `db.operation.name`, `server.address`, `server.port`, `db.response.status_code` and `error.type`. To record the
//! text of statements in `db.query.text`, call `query_text` of the pool's builder.
//!
//! # Features
//!
//! No feature is on by default. A feature only adds items.
//!
//! - `postgres` adds a pool of connections to Postgres. Cost: the crates `tokio-postgres`, `deadpool` and `tokio`, and the
//!   small crates `bytes`, `futures-core`, `futures-util` and `socket2`.
//! - `sqlite` adds a pool of connections to SQLite, whose statements run on threads. Cost: the crates `rusqlite` and `tokio`.
//!   `rusqlite` compiles SQLite itself, which needs a C compiler and more time than everything else together.
//! - `metrics` records the durations of operations, the waits for connections and the number of discarded connections, through
//!   the facade crate `metrics`: see `describe_metrics`. Leave this feature off if you install no recorder. Cost: the crate
//!   `metrics`, and calls of the recorder for each operation.
//! - `tracing` adds the attributes above to the spans that `tracing-opentelemetry` exports. Leave this feature off if you do
//!   not use that crate. Cost: the crates `opentelemetry`, `tracing` and `tracing-opentelemetry`.

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
