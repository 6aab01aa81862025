//! The time between the signal and the end of accepting.

use std::time::Duration;

use ripcord::Context;

/// Returns a context that ends `delay` after `signal`, with the signal's cause.
///
/// Until then `/healthz` reports draining, so that load balancers send new requests elsewhere, and requests that still arrive are
/// served. Time is that of `signal`'s clock. Call it inside a tokio runtime.
pub(super) fn delayed(signal: &Context, delay: Duration) -> Context {
    if delay.is_zero() {
        return signal.clone();
    }
    let (stop, cancel) = signal.without_cancel().with_cancel();
    let signal = signal.clone();
    tokio::spawn(async move {
        let error = signal.done().await;
        tracing::info!("Draining: requests are accepted for another {delay:?}");
        // Nothing else ends this context.
        let _ = signal.without_cancel().sleep(delay).await;
        match error.cause() {
            Some(cause) => cancel.cancel_with(cause.clone()),
            None => cancel.cancel(),
        }
    });
    stop
}
