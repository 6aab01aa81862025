//! Work that continues after its request.

use std::{
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use pin_project_lite::pin_project;
use ripcord::Context;

use super::{handle::Handle, lifetime::Lifetime};

/// Lets the work of a request continue after its response, or after its client has disconnected.
///
/// While the returned [`Detached`] exists, neither the end of the response nor a disconnect ends `ctx` or another context of the
/// same request. The request's deadline still ends them, and so does the end of the server's context. For work that must outlive
/// those too, use [`without_cancel`](Context::without_cancel).
///
/// A server drops the handler when its client disconnects, so spawn a task for work that must finish:
///
/// ```
/// use ripcord::Context;
/// use ripcord_http::server::{Ctx, Ended, detach};
///
/// async fn pay(Ctx(ctx): Ctx) -> Result<String, Ended> {
///     // A payment that has started finishes, whether or not the client still waits for the receipt.
///     let payment = detach(&ctx).run(async move { charge(&ctx).await });
///     tokio::spawn(payment).await.expect("no panic")
/// }
///
/// async fn charge(ctx: &Context) -> Result<String, Ended> {
///     ctx.check()?;
///     Ok("receipt".to_owned())
/// }
/// # let _: axum::Router = axum::Router::new().route("/pay", axum::routing::post(pay));
/// ```
///
/// If `ctx` has already ended, it stays ended. A context that does not belong to a request of a
/// [`ContextLayer`](super::ContextLayer) is unchanged.
///
/// A server may still have detached work after it has closed its connections.
/// [`ServerStats::detached`](super::ServerStats::detached) counts this work.
pub fn detach(ctx: &Context) -> Detached {
    let lifetime = ctx.value::<Handle>().and_then(|handle| handle.lifetime.upgrade());
    if let Some(lifetime) = &lifetime {
        lifetime.detach();
    }
    Detached { lifetime }
}

/// Prevents a request's context from ending with its response or its client, until this value is dropped. Returned by [`detach`].
#[must_use = "dropping this ends the Context of a request that is over"]
#[derive(Debug)]
pub struct Detached {
    lifetime: Option<Arc<Lifetime>>,
}

impl Detached {
    /// Returns a future that runs `future` and keeps `self` until it is dropped. A task drops its future when the future is
    /// ready.
    pub fn run<F: Future>(self, future: F) -> RunDetached<F> {
        RunDetached { future, detached: self }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(lifetime) = &self.lifetime {
            lifetime.attach();
        }
    }
}

pin_project! {
    /// A future that runs with its request detached. Returned by [`Detached::run`]. Dropping it drops the work.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct RunDetached<F> {
        // This field is before `detached`, because fields are dropped in order: the work's context is still alive when the work
        // is dropped.
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
