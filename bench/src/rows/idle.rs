//! C21: the cost of recording progress.

use std::pin::pin;
use std::task::{Context as Task, Waker};
use std::time::Duration;

use ripcord::Context;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};

use crate::floor::Floor;
use crate::harness::{Bench, HOUR};
use crate::report::{Line, TOKIO, Target};
use crate::timing::{clock, poll};

const TIMEOUT: Duration = Duration::from_secs(30);

/// C21. Ours is `IdleTimeout::reset` on a context with a waiting waker, below a request with a deadline and a canceler. The rival's
/// is `Sleep::reset` to the same time from now, on a pinned sleep with a waiting waker, in a tokio runtime.
pub(super) fn reset(bench: &Bench) -> Vec<Line> {
    let measured = bench.compare(
        |iterations| {
            let (request, _canceler) = Context::background().with_timeout(HOUR).with_cancel();
            let (ctx, idle) = request.with_idle_timeout(TIMEOUT);
            let mut done = pin!(ctx.done());
            assert!(poll(done.as_mut()).is_pending());
            clock(iterations, || idle.reset())
        },
        |iterations| {
            let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
            let _entered = runtime.enter();
            let mut sleep = pin!(sleep(TIMEOUT));
            assert!(sleep.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending());
            clock(iterations, || sleep.as_mut().reset(Instant::now() + TIMEOUT))
        },
        Floor::clock_read(),
    );
    vec![Line::time("C21", "reset of an idle timeout", measured, TOKIO, Target::Ratio(5.0)).within_floor(1.7)]
}
