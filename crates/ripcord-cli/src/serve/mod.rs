//! The reference service: the example HTTP server of a Go tutorial, written with ripcord.
//!
//! ```text
//! serve                  the shutdown's root
//! └─ (work)              the shutdown's context: canceled when the grace is over
//!    └─ GET /slow        one for each request: named after its route, with its ID and its deadline;
//!       └─ …             canceled when the client disconnects, and when the response has been sent
//! ```
//!
//! [`ripcord_http::serve`](ripcord_http::serve()) serves the connections, and [`ripcord_http::server`] gives each request its
//! context.
//!
//! | file | contents |
//! |---|---|
//! | `handlers.rs` | the handlers |
//! | `app.rs` | the routes and their state |
//! | `page.rs` | the page for browsers |
//! | `demo.rs` | traffic for people who look at the pages |
//! | `fleet/` | the services that share a Redis, and their page |
//! | `log.rs`, `metrics/` | the log and the metrics |
//! | `jobs.rs` | searches that run later, on any service of the fleet |
//! | `request_id.rs` | request IDs in the form of the Go tutorial |
//! | `peers.rs` | trusted peers |
//! | `shutdown.rs` | the settings of the shutdown, and its log |
//! | `config/` | the settings |
//! | `error.rs` | the reason why the service did not start |

mod app;
mod config;
mod demo;
mod error;
mod fleet;
mod handlers;
mod jobs;
mod log;
mod metrics;
mod page;
mod peers;
mod request_id;
mod shutdown;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use ripcord::Context;
use tokio::runtime;

pub(crate) use self::config::Hidden;
pub use self::{
    app::{Service, inspector},
    config::{Args, FileError, HalfClose, LogFormat, RedisOutage, RedisSettings, Settings},
    error::Error,
    fleet::Fleet,
    metrics::Recorder,
};
use crate::{
    backends::Backends,
    search::{Backend, Policies, Search, Sharing},
};

/// Runs the service with the settings in `args` until a signal ends it. Blocks the calling thread.
///
/// # Errors
///
/// Returns an error if the service cannot start: a setting is invalid, the address is in use, the database cannot be used, or the
/// process lacks a resource.
pub fn run(args: Args) -> Result<(), Error> {
    let settings = args.settings()?;
    log::start(settings.log_format);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Start)?;
    let outcome = runtime.block_on(serve(&settings));
    // Blocking work that ignores its context must not keep the process from exiting.
    runtime.shutdown_background();
    outcome
}

async fn serve(settings: &Settings) -> Result<(), Error> {
    // Installed before the first task starts, so that the gauges count all tasks.
    let recorder = Recorder::install();
    let fail = |source| Error::Listen { listen: settings.listen.clone(), source };
    let listener = ripcord_http::listen(&settings.listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(Error::Start)?;
    let shutdown = shutdown::shutdown(settings);
    // Set up before the address is printed, because a reader may send a signal at once.
    shutdown.on_signals().map_err(Error::Start)?;

    let inspector = inspector(settings, &shutdown)?;
    // The backends are not below the shutdown, because they must answer until the last request in flight has ended.
    let backends = match settings.backends.is_empty() {
        true => Some(
            Backends::start(&Context::background(), settings.database.clone(), inspector.as_ref())
                .await
                .map_err(Error::Start)?,
        ),
        false => None,
    };
    let fleet = settings.redis.as_ref().map(|redis| Fleet::new(redis, address)).transpose()?;
    let sharing = fleet.as_ref().map(Fleet::sharing);
    let search = search(shutdown.context(), settings, backends.as_ref(), sharing.as_ref())?;
    let service = Service::new(&shutdown, settings, search.clone(), recorder, inspector.clone(), fleet.clone());
    announce(address, settings.inspector, fleet.is_some());

    if let Some(jobs) = fleet.as_ref().map(Fleet::jobs).cloned() {
        shutdown.context().with_name("jobs").spawn(move |ctx| async move { jobs.work(&ctx, search).await });
    }
    // The reports are not below the shutdown, because they show it until its end.
    let (reports, end_of_reports) = Context::background().with_name("fleet report").with_cancel();
    let reporting = fleet.zip(inspector).map(|(fleet, inspector)| {
        reports.spawn_with_grace(fleet::LEAVE_TIME, move |ctx| async move { fleet.report(&ctx, &inspector).await })
    });
    let (demo, end_of_demo) = Context::background().with_name("demo").with_cancel();
    if settings.demo {
        let client = client()?;
        demo.spawn(move |ctx| async move { demo::run(&ctx, client, address).await });
    }
    // These run concurrently, so that the start of the shutdown is logged before its end.
    let log_begin = async {
        shutdown::log_begin(shutdown.clone(), settings.drain_delay, settings.grace).await;
        end_of_demo.cancel_with("the service shuts down");
    };
    tokio::join!(service.serve(listener), log_begin);
    shutdown::log_end(&shutdown.run().await);
    end_of_reports.cancel();
    if let Some(reporting) = reporting {
        let _ended = reporting.await;
    }
    Ok(())
}

/// Creates the search with the backends in the settings.
fn search(
    server: &Context,
    settings: &Settings,
    backends: Option<&Backends>,
    sharing: Option<&Sharing>,
) -> Result<Search, Error> {
    let client = client()?;
    let given = settings.backends.iter().map(|url| {
        let name = url.as_str().trim_start_matches("http://").trim_end_matches('/');
        Backend::new(server, name, url.clone(), &client, &settings.policies, sharing)
    });
    let started = backends.into_iter().flat_map(Backends::all).map(|backend| {
        let hedge_after = settings.policies.hedge_after.filter(|_| !backend.is_always_slow());
        let policies = Policies { hedge_after, ..settings.policies.clone() };
        Backend::new(server, backend.name, backend.url.clone(), &client, &policies, sharing)
    });
    Ok(Search::new(given.chain(started).collect::<Result<Vec<_>, _>>()?)?)
}

/// Creates a client for backends and for the demo.
fn client() -> Result<reqwest::Client, Error> {
    reqwest::Client::builder().no_proxy().build().map_err(|error| Error::Start(io::Error::other(error)))
}

/// Prints the address to stdout. A script that uses port 0 reads the port here.
fn announce(address: SocketAddr, inspector: bool, fleet: bool) {
    let mut pages = String::new();
    if inspector {
        pages += &format!("\x20 - http://{address}/debug/contexts (requests in flight, live)\n");
    }
    if inspector && fleet {
        pages += &format!("\x20 - http://{address}/debug/fleet (requests of all services that share the Redis)\n");
    }
    // The service runs even if stdout is closed.
    let _ = write!(
        io::stdout(),
        "Listening on http://{address}\n\
         Try these endpoints:\n\
         \x20 - http://{address}/ (normal request)\n\
         \x20 - http://{address}/slow (will time out)\n\
         \x20 - http://{address}/search?q=context&timeout=500ms (the answers that arrive before the deadline)\n\
         {pages}\
         \x20 - http://{address}/healthz, http://{address}/metrics\n"
    );
    let _ = io::stdout().flush();
}
