//! The reference service: the chapter's HTTP server, on ripcord.
//!
//! ```text
//! stop (signals)         ends at Ctrl-C or TERM; nothing derives from it, it only stops the accepting
//! serve                  the server's own Context; cancelled when the grace after `stop` is over
//! └─ /slow               one for every request: named after its route, with its id and its deadline;
//!    └─ …                cancelled when the client goes away, and when the response has been sent
//! ```
//!
//! What gives each request its Context is [`ripcord_http::server`].
//!
//! | file | holds |
//! |---|---|
//! | `handlers.rs` | what the service answers, and all that an author of handlers has to know |
//! | `request_id.rs` | ids in the chapter's form |
//! | `connections.rs` | accepting connections until told to stop |
//! | `shutdown.rs` | from the first signal to the exit: in flight, grace, cancelled |

mod connections;
mod handlers;
mod request_id;
mod shutdown;

use std::{
    fmt,
    io::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use axum::{Router, routing::any};
use ripcord::Context;
use ripcord_http::{
    RequestId,
    server::{ContextLayer, Ending, Outcome, matched_path},
};
use tokio::{net::TcpListener, runtime};

pub use self::{
    connections::{Connections, accept},
    shutdown::{GraceOver, drain},
};

/// The arguments of `ripcord serve`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Ctrl-C and TERM stop the accepting, let requests in flight finish within the grace, cancel those that have not, \
and exit 0; a second signal ends the process at once.")]
pub struct Args {
    /// Where to listen, as HOST:PORT; port 0 picks a free one
    // A string, since what is wrong with it takes one line to say and clap would say it in three.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// How long requests in flight may still run after Ctrl-C or TERM
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// From the arrival of a request to its answer.
    pub request: Duration,
}

impl Default for Limits {
    /// The chapter's: five seconds for a request.
    fn default() -> Self {
        Limits { request: Duration::from_secs(5) }
    }
}

/// The service: its routes, every request with a Context below `server`.
///
/// Time is `server`'s: give it a clock of your own ([`Context::with_clock`]) and the whole service follows it.
pub fn app(server: &Context, limits: Limits) -> Router {
    Router::new()
        // `any`, since the chapter's mux does not look at the method either.
        .route("/", any(handlers::index))
        .route("/slow", any(handlers::slow))
        .fallback(handlers::not_found)
        .layer(layer(server, limits))
}

fn layer(server: &Context, limits: Limits) -> ContextLayer {
    ContextLayer::new(server).timeout(limits.request).name(matched_path).make_id(request_id::make_id).on_end(log_end)
}

/// What a handler cannot say, since it was dropped or never began.
fn log_end(request: &Ending<'_>) {
    let id = request.ctx.value::<RequestId>().map_or("unknown", RequestId::as_str);
    match request.outcome {
        Outcome::Answered => {}
        Outcome::Panicked(message) => log::error!("[{id}] Handler panicked: {message}"),
        Outcome::Failed => log::warn!("[{id}] Request failed"),
        outcome => log::info!("[{id}] Request canceled: {outcome:#}"),
    }
}

/// Runs the service until a signal ends it. Blocks the thread.
///
/// # Errors
///
/// When the service could not start: its address is malformed or in use, or the process is out of something.
pub fn run(args: &Args) -> Result<(), Error> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Start)?;
    let outcome = runtime.block_on(serve(args));
    // Blocking work that does not look at its Context must not keep the process from exiting.
    runtime.shutdown_background();
    outcome
}

async fn serve(args: &Args) -> Result<(), Error> {
    let listener = bind(&args.listen).await?;
    let address = listener.local_addr().map_err(Error::Start)?;
    // Before the first line is printed: whoever reads it may send a signal at once.
    let stop = Context::background().with_signals().map_err(Error::Start)?;
    announce(address);

    let (server, cancel) = Context::background().with_name("serve").with_cancel();
    let connections = accept(listener, app(&server, Limits::default()), &stop).await;

    drain(connections, &stop, args.grace, &cancel).await;
    Ok(())
}

async fn bind(listen: &str) -> Result<TcpListener, Error> {
    // Checked before the resolver is: it would take a moment and blame a name.
    let port = listen.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
        return Err(Error::Address { listen: listen.to_owned() });
    }
    TcpListener::bind(listen).await.map_err(|source| Error::Listen { listen: listen.to_owned(), source })
}

/// On stdout, unlike the log: a script that asked for port 0 reads its port here.
fn announce(address: SocketAddr) {
    // A closed stdout is no reason not to serve.
    let _ = write!(
        io::stdout(),
        "Listening on http://{address}\n\
         Try these endpoints:\n\
         \x20 - http://{address}/ (normal request)\n\
         \x20 - http://{address}/slow (will time out)\n"
    );
    let _ = io::stdout().flush();
}

/// Why the service could not start. One line each.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// `--listen` is no address.
    Address {
        /// What was given.
        listen: String,
    },
    /// `--listen` is an address, but not one to be had: in use, not ours, or not resolved.
    Listen {
        /// What was given.
        listen: String,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime, the socket or the signal handlers could not be set up.
    Start(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Address { listen } => {
                write!(f, "cannot listen on {listen:?}: expected HOST:PORT, such as 127.0.0.1:8080")
            }
            Error::Listen { listen, source } => write!(f, "cannot listen on {listen}: {source}"),
            Error::Start(source) => write!(f, "cannot start: {source}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Part of the line already, so not a source of its own.
        None
    }
}
