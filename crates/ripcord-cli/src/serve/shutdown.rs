//! The settings and the log of the shutdown.

use std::time::Duration;

use ripcord::{Context, Report, Shutdown};

use super::Settings;

/// Creates the shutdown of the service. Its work is named after `serve`.
pub(super) fn shutdown(settings: &Settings) -> Shutdown {
    let root = Context::background().with_name("serve");
    // The grace starts at the end of the drain delay.
    let drain = settings.drain_delay.saturating_add(settings.grace);
    Shutdown::builder().context(&root).drain_delay(settings.drain_delay).drain(drain).build()
}

/// Logs the stop request and the end of the drain delay.
pub(super) async fn log_begin(shutdown: Shutdown, drain_delay: Duration, grace: Duration) {
    let request = shutdown.stop_request().done().await;
    let cause = request.cause().map(ToString::to_string).unwrap_or_default();
    if !drain_delay.is_zero() {
        tracing::info!("Draining: requests are accepted for another {drain_delay:?}");
        shutdown.drain_delay_over().await;
    }
    tracing::info!("Shutting down ({cause}): requests in flight have {grace:?} to finish");
}

/// Logs the end of the shutdown and the work that did not end in time.
pub(super) fn log_end(report: &Report) {
    if report.canceled().is_empty() && report.left().is_empty() {
        tracing::info!("Every request has been answered");
        return;
    }
    tracing::warn!("{} connections did not finish in time, and were canceled", report.canceled().len());
    for work in report.left() {
        tracing::warn!("Still running: {} after {:.1?}", work.name().unwrap_or("a task without a name"), work.age());
    }
}
