//! The three built-in backends of `/search`, which are used if the settings name no backend. They are small HTTP servers on
//! loopback ports, in this process.
//!
//! | name | documents | behavior |
//! |---|---|---|
//! | `fast` | the names of Go and of ripcord | answers immediately |
//! | `slow` | uses of a context | takes a second and a half |
//! | `flaky` | the policies around a call | fails the first of every four requests and never answers the third |
//!
//! They behave like services on other machines. They read the remaining time, the request ID and the trace from headers, and
//! notice a disconnect from the connection.
//!
//! | file | contents |
//! |---|---|
//! | `documents.tsv` | the documents |
//! | `store/` | full-text search that ends with a context |
//! | `service.rs` | a backend's server |

mod service;
mod store;

use std::{future::IntoFuture as _, io, net::Ipv4Addr};

use reqwest::Url;
use ripcord::{Canceler, Context, Shutdown};
use ripcord_http::inspector::Inspector;
use ripcord_sql::{
    Error,
    postgres::{Pool, tokio_postgres},
};
use tokio::task::JoinSet;

pub use self::store::Hit;
use self::{
    service::{Behavior, app},
    store::Store,
};

/// The running built-in backends. Dropping this value stops the backends immediately.
#[derive(Debug)]
pub struct Backends {
    started: Vec<Started>,
    // Declared before the tasks: requests are canceled before the tasks are dropped.
    _cancel: Canceler,
    _tasks: JoinSet<()>,
}

/// A running built-in backend.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started {
    /// The name of the backend.
    pub name: &'static str,
    /// The URL of the backend's search.
    pub url: Url,
    behavior: Behavior,
}

impl Backends {
    /// Starts the three backends on free ports. Call this function inside a tokio runtime.
    ///
    /// The backends use the clock of `ctx` and stop when `ctx` ends. Their documents are in the Postgres database `database`. If
    /// `database` is `None`, the documents are in SQLite, in memory. `inspector` shows the requests and queries of the backends.
    ///
    /// # Errors
    ///
    /// Returns an error if no port is free or the database cannot be set up.
    pub async fn start(
        ctx: &Context,
        database: Option<tokio_postgres::Config>,
        inspector: Option<&Inspector>,
    ) -> io::Result<Backends> {
        let (ctx, cancel) = ctx.with_name("backends").with_cancel();
        let no_database = |error: Error| io::Error::other(format!("cannot set up the database: {error}"));
        let postgres = database.map(|config| Pool::builder(config).build()).transpose().map_err(no_database)?;
        let (mut started, mut tasks) = (Vec::new(), JoinSet::new());
        for (name, behavior) in [("fast", Behavior::Fast), ("slow", Behavior::Slow), ("flaky", Behavior::Flaky)] {
            let listener = ripcord_http::listen((Ipv4Addr::LOCALHOST, 0)).await?;
            let url = format!("http://{}/search", listener.local_addr()?).parse().expect("an address makes a URL");
            started.push(Started { name, url, behavior });
            let shutdown = Shutdown::builder().context(&ctx.with_name(name)).build();
            let store = Store::open(shutdown.context(), postgres.as_ref(), name).await.map_err(no_database)?;
            let app = app(shutdown.context(), behavior, store, inspector);
            tasks.spawn(ripcord_http::serve(listener, app).shutdown(&shutdown).into_future());
        }
        Ok(Backends { started, _cancel: cancel, _tasks: tasks })
    }

    /// Returns all backends.
    pub fn all(&self) -> &[Started] {
        &self.started
    }
}

impl Started {
    /// Returns whether the backend is always slow. For such a backend, a second request does not help.
    pub fn is_always_slow(&self) -> bool {
        self.behavior == Behavior::Slow
    }
}
