//! Work that continues after its request.

use std::{
    pin::Pin,
    sync::Arc,
    task::{self, Poll},
};

use pin_project_lite::pin_project;
use ripcord::Context;

use super::{handle::Handle, lifetime::Lifetime};

/// Keeps the context of a request alive after the response and after a disconnect of the client.
///
/// `ctx` is the request's context or a context derived from it. While the returned guard exists, the end of the response and a
/// disconnect do not end the request's context. The deadline of the request and the end of the server's context still end it. For
/// work that must continue in these cases too, use [`without_cancel`](Context::without_cancel).
///
/// A server may drop the handler when the client disconnects. Spawn a task for work that must continue:
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
/// This function has no effect on a context that has already ended, or that does not belong to a request of a
/// [`ContextLayer`](super::ContextLayer).
///
/// Detached work may still run after the server has closed all connections. [`ServerStats::detached`](super::ServerStats::detached)
/// counts the guards that still exist.
pub fn detach(ctx: &Context) -> Detached {
    let lifetime = ctx.value::<Handle>().and_then(|handle| handle.lifetime.upgrade());
    if let Some(lifetime) = &lifetime {
        lifetime.detach();
    }
    Detached { lifetime }
}

/// A guard that keeps a request's context alive after its response and after a disconnect. Created by [`detach`].
///
/// When the last guard of a request is dropped, the context ends if the response has been sent or the client has disconnected.
/// Otherwise, the context ends with the request.
#[must_use = "dropping this ends the Context of a request that is over"]
#[derive(Debug)]
pub struct Detached {
    lifetime: Option<Arc<Lifetime>>,
}

impl Detached {
    /// Returns a future that runs `future` and returns its result. The returned future holds the guard until it is dropped.
    ///
    /// Spawn the returned future as a task, because a server may drop the handler when the client disconnects. A task drops its
    /// future, and with it the guard, as soon as the future has completed.
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
    /// A future that runs another future and holds a [`Detached`] guard. Created by [`Detached::run`].
    ///
    /// Dropping this future drops the inner future first, then the guard.
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
