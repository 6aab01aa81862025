//! The handlers of H4 and H5 in Rust. Go's are in `go/waiting.go`.
//!
//! | path | handler |
//! |---|---|
//! | `/` | answers at once |
//! | `/until/{unix_nanos}` | answers at that instant |
//! | `/hold` | waits until its context ends, and spawns a task that also waits |
//! | `/live` | answers with the number of handlers and tasks that wait |
//! | `/ended` | answers with the instant at which that number last became zero, in nanoseconds since the Unix epoch |

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get};
use ripcord_http::server::Ctx;
use tokio::task::JoinSet;

use super::unix_nanos;

/// The routes whose handlers wait on the request's context.
pub(super) fn under_a_context() -> Router {
    routes(
        get(async |State(counts): State<Counts>, Path(until): Path<u64>, Ctx(ctx): Ctx| {
            let _live = Live::new(&counts);
            let slept = ctx.sleep(time_until(until)).await;
            if slept.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }
        }),
        get(async |State(counts): State<Counts>, Ctx(ctx): Ctx| {
            let (_live, task) = (Live::new(&counts), Live::new(&counts));
            let child = ctx.clone();
            tokio::spawn(async move {
                let _live = task;
                _ = child.done().await;
            });
            _ = ctx.done().await;
        }),
    )
}

/// The routes whose handlers axum drops when the client disconnects. A dropped handler aborts its task.
pub(super) fn without_contexts() -> Router {
    routes(
        get(async |State(counts): State<Counts>, Path(until): Path<u64>| {
            let _live = Live::new(&counts);
            tokio::time::sleep(time_until(until)).await;
        }),
        get(async |State(counts): State<Counts>| {
            let (_live, task) = (Live::new(&counts), Live::new(&counts));
            let mut tasks = JoinSet::new();
            tasks.spawn(async move {
                let _live = task;
                pending::<()>().await;
            });
            pending::<()>().await;
        }),
    )
}

fn routes(until: MethodRouter<Counts>, hold: MethodRouter<Counts>) -> Router {
    Router::new()
        .route("/", get(async || "Hello, world!"))
        .route("/until/{unix_nanos}", until)
        .route("/hold", hold)
        .route("/live", get(async |State(counts): State<Counts>| counts.live.load(SeqCst).to_string()))
        .route("/ended", get(async |State(counts): State<Counts>| counts.ended_at.load(SeqCst).to_string()))
        .with_state(Counts::default())
}

fn time_until(instant: u64) -> Duration {
    Duration::from_nanos(instant.saturating_sub(unix_nanos()))
}

type Counts = Arc<Waiting>;

#[derive(Debug, Default)]
struct Waiting {
    /// Number of handlers and tasks that wait.
    live: AtomicUsize,
    /// The time when `live` last became zero, in nanoseconds since the Unix epoch.
    ended_at: AtomicU64,
}

/// Counts one handler or task until it is dropped.
struct Live(Counts);

impl Live {
    fn new(counts: &Counts) -> Self {
        counts.live.fetch_add(1, SeqCst);
        Live(Arc::clone(counts))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.0.live.fetch_sub(1, SeqCst) == 1 {
            self.0.ended_at.store(unix_nanos(), SeqCst);
        }
    }
}
