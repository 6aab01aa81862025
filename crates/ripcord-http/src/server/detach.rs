//! Going on although the client has gone.

use std::{
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use pin_project_lite::pin_project;
use ripcord::Context;

use super::{
    life::{Handle, Life},
    stats::Counters,
};

/// Lets what belongs to a request be finished although its client goes.
///
/// While the [`Detached`] is held, neither the client's going nor the end of the response ends `ctx`, or any Context of the same
/// request. Its deadline still does, and so does the server when it shuts down: take
/// [`without_cancel`](Context::without_cancel) to outlive those too.
///
/// A server drops a handler whose client has gone, and what the handler was about to do is dropped with it. So what has to be
/// finished needs a task of its own, which the handler waits for:
///
/// ```
/// use ripcord::Context;
/// use ripcord_http::server::{Ctx, Ended, detach};
///
/// async fn pay(Ctx(ctx): Ctx) -> Result<String, Ended> {
///     // Once begun, a payment is finished, whether or not somebody still waits for the receipt.
///     let payment = detach(&ctx).run(async move { charge(&ctx).await });
///     tokio::spawn(payment).await.expect("it does not panic")
/// }
///
/// async fn charge(ctx: &Context) -> Result<String, Ended> {
///     ctx.check()?;
///     Ok("receipt".to_owned())
/// }
/// # let _: axum::Router = axum::Router::new().route("/pay", axum::routing::post(pay));
/// ```
///
/// If the client has gone already, `ctx` has ended, and stays so. A Context that belongs to no request of a
/// [`ContextLayer`](super::ContextLayer) is left as it is.
///
/// A server that has stopped accepting and closed its connections may still have detached work;
/// [`ServerStats::detached`](super::ServerStats::detached) says how much.
pub fn detach(ctx: &Context) -> Detached {
    let request =
        ctx.value::<Handle>().and_then(|handle| Some((handle.life.upgrade()?, Arc::clone(&handle.settings.counters))));
    if let Some((life, counters)) = &request {
        life.detach();
        counters.detached.up();
    }
    Detached { request }
}

/// Keeps a request's Context from ending with its client, until it is dropped: see [`detach`].
#[must_use = "the client's going counts again when this is dropped"]
#[derive(Debug)]
pub struct Detached {
    request: Option<(Arc<Life>, Arc<Counters>)>,
}

impl Detached {
    /// The future with this: held until that is dropped, as a task's future is when it is ready.
    pub fn run<F: Future>(self, future: F) -> RunDetached<F> {
        RunDetached { future, detached: self }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some((life, counters)) = &self.request {
            life.attach();
            counters.detached.down();
        }
    }
}

pin_project! {
    /// A future that is finished although its client goes: see [`detach`]. Dropping it gives the work up.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct RunDetached<F> {
        // Above what it holds open, for fields are dropped from the top.
        #[pin]
        future: F,
        detached: Detached,
    }
}

impl<F: Future> Future for RunDetached<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(task)
    }
}
