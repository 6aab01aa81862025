//! From the first signal to the exit.

use std::{error::Error, fmt, pin::pin, time::Duration};

use ripcord::{Canceler, Cause, Context};

use super::connections::Connections;

/// How long cancelled requests get to send their last answer.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Waits for `connections` to finish; those that have not when `grace` is done are cancelled.
///
/// `stop` is the Context whose end began the shutdown, and is only asked why. `grace` is how long requests may still
/// run: usually a timeout, ended early by a second signal. `requests` cancels every request, with [`GraceOver`] as the
/// cause. When this returns, every request has been answered, or has been cancelled and had a second to answer.
///
/// Dropping the future cancels nothing.
pub async fn drain(connections: Connections, stop: &Context, grace: &Context, requests: &Canceler) {
    let why = stop.cause();
    let within = grace.remaining();
    log::info!("Shutting down: {}{}", Shown(why.as_ref()), Within(within));

    let mut finished = pin!(connections.finished());
    let Err(over) = grace.run(finished.as_mut()).await else {
        log::info!("Every request has been answered");
        return;
    };
    log::info!("Canceling requests still running: {over:#}");
    requests.cancel_with(GraceOver { why, over });

    let last_answers = Context::background().with_timeout(LAST_ANSWERS);
    if last_answers.run(finished).await.is_err() {
        log::warn!("Leaving behind connections that did not close");
    }
}

/// Why requests were cancelled: the server is shutting down, and they were still running when its grace was over.
#[derive(Debug)]
pub struct GraceOver {
    why: Option<Cause>,
    over: ripcord::Error,
}

impl fmt::Display for GraceOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "server is shutting down ({}), ",
            Shown(self.why.as_ref())
        )?;
        match (self.over.cause(), self.over.origin().timeout()) {
            (Some(cause), _) => write!(f, "its grace cut short ({cause})"),
            (None, Some(grace)) => write!(f, "its grace of {grace:?} is over"),
            (None, None) => write!(f, "its grace is over"),
        }
    }
}

impl Error for GraceOver {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.over)
    }
}

struct Shown<'a>(Option<&'a Cause>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(cause) => write!(f, "{cause}"),
            None => write!(f, "asked to stop"),
        }
    }
}

struct Within(Option<Duration>);

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // To the millisecond: this is what is left, a little less than what was asked for.
            Some(left) => write!(
                f,
                ", requests in flight have {:.3}s to finish",
                left.as_secs_f64()
            ),
            None => write!(
                f,
                ", requests in flight have as long as they need to finish"
            ),
        }
    }
}
