//! The shutdown: from the first signal to the exit.

use std::{error::Error, fmt, pin::pin, time::Duration};

use ripcord::{Canceler, Cause, Context};
use tokio::net::TcpListener;

use crate::connections::{Acceptor, Connections};

/// How long canceled requests may take to send their last answer.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Waits for `connections` to finish. Requests that are still in flight after `grace` are canceled.
///
/// Meanwhile `acceptor` still accepts on `listener`: health checks are told that the service is draining, and other requests are
/// refused. Those connections are not waited for.
///
/// `stop` is the Context whose end began the shutdown. `requests` cancels every request, with [`GraceOver`] as the cause. When
/// this returns, every request has been answered, or has been canceled and had a second to answer. Connections that have not
/// closed by then are dropped.
///
/// The grace uses the clock of `stop`. Dropping the future cancels nothing.
pub async fn drain(
    connections: Connections,
    listener: &TcpListener,
    acceptor: &Acceptor,
    stop: &Context,
    grace: Duration,
    requests: &Canceler,
) {
    let over = GraceOver { stop: stop.cause(), grace };
    tracing::info!("Shutting down ({}): requests in flight have {grace:?} to finish", over.why());

    let (drained, drop_when_drained) = stop.without_cancel().with_cancel();
    let in_flight = async {
        finish(connections, &stop.without_cancel(), over, requests).await;
        drop(drop_when_drained);
    };
    // Clients that came in the meantime have been answered. Nobody waits for them to close.
    let ((), _late) = tokio::join!(in_flight, acceptor.accept(listener, &drained));
}

async fn finish(connections: Connections, ctx: &Context, over: GraceOver, requests: &Canceler) {
    let close = connections.close();
    let mut finished = pin!(connections.finished());
    if ctx.with_timeout(over.grace).run(finished.as_mut()).await.is_ok() {
        tracing::info!("Every request has been answered");
        return;
    }
    tracing::warn!("Canceling requests: {over}");
    requests.cancel_with(over);

    if ctx.with_timeout(LAST_ANSWERS).run(finished).await.is_err() {
        tracing::warn!("Dropping connections that did not close");
        close.cancel();
    }
}

/// The cause for requests that were still in flight when the shutdown's grace was over.
#[derive(Debug)]
pub struct GraceOver {
    stop: Option<Cause>,
    grace: Duration,
}

impl GraceOver {
    fn why(&self) -> &dyn fmt::Display {
        match &self.stop {
            Some(cause) => cause,
            None => &"asked to stop",
        }
    }
}

impl fmt::Display for GraceOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server is shutting down ({}) and its grace of {:?} is over", self.why(), self.grace)
    }
}

impl Error for GraceOver {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.stop.as_ref().map(|cause| &**cause as &(dyn Error + 'static))
    }
}
