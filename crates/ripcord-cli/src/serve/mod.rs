//! The reference service: the chapter's HTTP server, on ripcord.
//!
//! ```text
//! stop (signals)         ends at Ctrl-C or TERM; nothing derives from it, it only begins the shutdown
//! serve                  the server's own Context; canceled when the grace after `stop` is over
//! └─ GET /slow           one for every request: named after its route, with its id and its deadline;
//!    └─ …                canceled when the client goes away, and when the response has been sent
//! ```
//!
//! What gives each request its Context is [`ripcord_http::server`].
//!
//! | file | holds |
//! |---|---|
//! | `handlers.rs` | what the service answers, and all that an author of handlers has to know |
//! | `app.rs` | the routes, and what they share |
//! | `page.rs` | the page for people in a browser |
//! | `log.rs`, `metrics/` | what is told of each request, and what is counted |
//! | `request_id.rs` | ids in the chapter's form |
//! | `peers.rs` | whose word counts |
//! | `shutdown.rs` | from the first signal to the exit: in flight, grace, canceled |
//! | `config/` | the settings: flags, file, defaults |
//! | `error.rs` | why the service could not start |

mod app;
mod config;
mod error;
mod handlers;
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

pub use self::{
    app::Service,
    config::{Args, FileError, HalfClose, LogFormat, Settings},
    error::Error,
    shutdown::{GraceOver, drain},
};
use crate::{
    backends::Backends,
    connections::listen,
    search::{Backend, Policies, Search},
};

/// Runs the service until a signal ends it. Blocks the thread.
///
/// # Errors
///
/// When the service could not start: its settings are unknown or out of bounds, its address is in use, or the process is
/// out of something.
pub fn run(args: Args) -> Result<(), Error> {
    let settings = args.settings()?;
    log::start(settings.log_format);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Start)?;
    let outcome = runtime.block_on(serve(&settings));
    // Blocking work that does not look at its Context must not keep the process from exiting.
    runtime.shutdown_background();
    outcome
}

async fn serve(settings: &Settings) -> Result<(), Error> {
    let fail = |source| Error::Listen { listen: settings.listen.clone(), source };
    let listener = listen(&settings.listen).await.map_err(fail)?;
    let address = listener.local_addr().map_err(Error::Start)?;
    // Before the first line is printed: whoever reads it may send a signal at once.
    let stop = Context::background().with_signals().map_err(Error::Start)?;
    let (server, cancel) = Context::background().with_name("serve").with_cancel();

    // Not below `server`: they answer requests that are in flight until the last of those is over.
    let backends = match settings.backends.is_empty() {
        true => Some(Backends::start(&Context::background()).await.map_err(Error::Start)?),
        false => None,
    };
    let search = search(&server, settings, backends.as_ref())?;
    let acceptor = Service::new(&server, &stop, settings, search).acceptor();
    announce(address);

    let connections = acceptor.accept(&listener, &stop).await;
    drain(connections, &listener, &acceptor, &stop, settings.grace, &cancel).await;
    Ok(())
}

/// The search that the settings ask for.
fn search(server: &Context, settings: &Settings, backends: Option<&Backends>) -> Result<Search, Error> {
    let client =
        reqwest::Client::builder().no_proxy().build().map_err(|error| Error::Start(io::Error::other(error)))?;
    let given = settings.backends.iter().map(|url| {
        let name = url.as_str().trim_start_matches("http://").trim_end_matches('/');
        Backend::new(server, name, url.clone(), &client, &settings.policies)
    });
    let started = backends.into_iter().flat_map(Backends::all).map(|backend| {
        let hedge_after = settings.policies.hedge_after.filter(|_| !backend.is_always_slow());
        let policies = Policies { hedge_after, ..settings.policies.clone() };
        Backend::new(server, backend.name, backend.url.clone(), &client, &policies)
    });
    Ok(Search::new(given.chain(started).collect::<Result<Vec<_>, _>>()?)?)
}

/// On stdout, unlike the log: a script that asked for port 0 reads its port here.
fn announce(address: SocketAddr) {
    // A closed stdout is no reason not to serve.
    let _ = write!(
        io::stdout(),
        "Listening on http://{address}\n\
         Try these endpoints:\n\
         \x20 - http://{address}/ (normal request)\n\
         \x20 - http://{address}/slow (will time out)\n\
         \x20 - http://{address}/search?q=context&timeout=500ms (what comes in before the deadline)\n\
         \x20 - http://{address}/debug/contexts (what is under way, live)\n\
         \x20 - http://{address}/healthz, http://{address}/metrics\n"
    );
    let _ = io::stdout().flush();
}
