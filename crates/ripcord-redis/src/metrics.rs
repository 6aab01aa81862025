//! Metrics through the facade crate `metrics`.
//!
//! Each part counts in its own statistics, at the same cost with and without the feature. `record_metrics` copies the statistics
//! to the recorder.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::{Client, Hub, Limiter, Mode, SharedBreaker};

/// The counters, with their help texts.
const COUNTERS: [(&str, &str); 14] = [
    ("ripcord_redis_commands_total", "Commands sent to Redis."),
    ("ripcord_redis_failures_total", "Commands that Redis did not answer."),
    ("ripcord_redis_reconnects_total", "Connections opened after the first."),
    ("ripcord_redis_breaker_changes_total", "Shared breakers that another process opened or closed, by the new state."),
    ("ripcord_redis_breaker_failures_total", "Changes of breakers that could not be sent."),
    ("ripcord_redis_breaker_published_total", "Changes of breakers that were sent."),
    ("ripcord_redis_breaker_received_total", "Messages about changes of breakers."),
    ("ripcord_redis_hub_canceled_total", "Bound contexts that a cancel ended."),
    ("ripcord_redis_hub_cancels_total", "Cancels sent by a hub that Redis answered, by result."),
    ("ripcord_redis_hub_received_total", "Messages about cancels."),
    ("ripcord_redis_limiter_decisions_total", "Decisions of a limiter, by mode."),
    ("ripcord_redis_limiter_failures_total", "Commands of a limiter that failed."),
    ("ripcord_redis_limiter_saved_total", "Requests that a limiter denied without a command."),
    ("ripcord_redis_queue_events_total", "What happened to the jobs of a queue, by event."),
];

/// The gauges, with their help texts.
const GAUGES: [(&str, &str); 8] = [
    ("ripcord_redis_available", "Whether Redis answered the last command: 1 or 0."),
    ("ripcord_redis_peers", "Clients with the same prefix."),
    ("ripcord_redis_breaker_breakers", "Breakers that share their state."),
    ("ripcord_redis_hub_contexts", "Bound contexts that have not ended."),
    ("ripcord_redis_hub_unread", "Bound IDs for which it is not known yet whether they were canceled."),
    ("ripcord_redis_limiter_denied_keys", "Keys that a limiter knows to be denied."),
    ("ripcord_redis_limiter_mode", "Where a limiter decides: 1 for its mode, and 0 for the others."),
    ("ripcord_redis_queue_jobs", "Jobs of a queue, by state."),
];

/// Registers the help texts of the metrics below with the global recorder of the crate `metrics`. Call this function once, after
/// your program has installed a recorder.
///
/// The method `record_metrics` of [`Client`], [`Hub`], [`SharedBreaker`] and [`Limiter`] copies the statistics of the value to the
/// recorder. The recorder sees changes only after the next call. So call the method at an interval, or each time before the metrics
/// are read.
///
/// # Metrics
///
/// | metric | type | labels |
/// |---|---|---|
/// | `ripcord_redis_available`: 1 if Redis is available, otherwise 0 | gauge | `prefix` |
/// | `ripcord_redis_peers`: clients with the same prefix | gauge | `prefix` |
/// | `ripcord_redis_commands_total`: commands sent | counter | `prefix` |
/// | `ripcord_redis_failures_total`: commands that failed because Redis was unavailable | counter | `prefix` |
/// | `ripcord_redis_reconnects_total`: connections opened after the first | counter | `prefix` |
/// | `ripcord_redis_hub_contexts`: bound contexts that have not ended | gauge | `prefix` |
/// | `ripcord_redis_hub_unread`: bound IDs that the hub must still look up in Redis | gauge | `prefix` |
/// | `ripcord_redis_hub_canceled_total`: bound contexts that a cancel ended | counter | `prefix` |
/// | `ripcord_redis_hub_cancels_total`: cancels of this process that Redis answered | counter | `prefix`, `result` |
/// | `ripcord_redis_hub_received_total`: received messages about cancels, in a cluster one per master | counter | `prefix` |
/// | `ripcord_redis_breaker_breakers`: breakers that share their state | gauge | `prefix` |
/// | `ripcord_redis_breaker_published_total`: changes of the state of breakers that were sent to the other processes | counter | `prefix` |
/// | `ripcord_redis_breaker_failures_total`: failed attempts to send a change | counter | `prefix` |
/// | `ripcord_redis_breaker_received_total`: received messages about changes, in a cluster one per master | counter | `prefix` |
/// | `ripcord_redis_breaker_changes_total`: times that another process opened or closed a breaker of this process | counter | `prefix`, `state` |
/// | `ripcord_redis_limiter_mode`: 1 for the mode of the limiter, and 0 for the other modes | gauge | `name`, `mode` |
/// | `ripcord_redis_limiter_decisions_total`: decisions in each mode | counter | `name`, `mode` |
/// | `ripcord_redis_limiter_saved_total`: requests denied without a command | counter | `name` |
/// | `ripcord_redis_limiter_failures_total`: commands that were not answered, or answered with an error | counter | `name` |
/// | `ripcord_redis_limiter_denied_keys`: keys whose requests are denied without a command | gauge | `name` |
///
/// | label | values |
/// |---|---|
/// | `prefix` | the [prefix](Client::prefix) of the client |
/// | `name` | the [name](Limiter::name) of the limiter |
/// | `result` | `won` for the first cancel of an ID, `lost` for later cancels of the ID |
/// | `state` | the new state of the breaker: `open` or `closed` |
/// | `mode` | `connected`, `open`, `closed` or `local`: see [`Mode`] |
///
/// The metrics of a work queue are listed at [`QueueStats::record_metrics`](crate::QueueStats::record_metrics). The results of a
/// limiter's requests, and the values that a cache found in Redis, are metrics of ripcord-policy:
/// [`ripcord_policy::describe_metrics`].
pub fn describe_metrics() {
    for (metric, help) in COUNTERS {
        describe_counter!(metric, Unit::Count, help);
    }
    for (metric, help) in GAUGES {
        describe_gauge!(metric, Unit::Count, help);
    }
}

impl Client {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. [`describe_metrics`] lists the metrics.
    pub fn record_metrics(&self) {
        let (stats, prefix) = (self.stats(), self.prefix());
        gauge!("ripcord_redis_available", "prefix" => prefix.to_owned()).set(f64::from(u8::from(stats.is_available)));
        gauge!("ripcord_redis_peers", "prefix" => prefix.to_owned()).set(stats.peers as f64);
        counter!("ripcord_redis_commands_total", "prefix" => prefix.to_owned()).absolute(stats.commands);
        counter!("ripcord_redis_failures_total", "prefix" => prefix.to_owned()).absolute(stats.failures);
        counter!("ripcord_redis_reconnects_total", "prefix" => prefix.to_owned()).absolute(stats.reconnects);
    }
}

impl Hub {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. [`describe_metrics`] lists the metrics.
    pub fn record_metrics(&self) {
        let (stats, prefix) = (self.stats(), self.prefix());
        gauge!("ripcord_redis_hub_contexts", "prefix" => prefix.to_owned()).set(stats.contexts as f64);
        gauge!("ripcord_redis_hub_unread", "prefix" => prefix.to_owned()).set(stats.unread as f64);
        counter!("ripcord_redis_hub_canceled_total", "prefix" => prefix.to_owned()).absolute(stats.canceled);
        counter!("ripcord_redis_hub_received_total", "prefix" => prefix.to_owned()).absolute(stats.received);
        for (result, count) in [("won", stats.won), ("lost", stats.lost)] {
            let labels = [("prefix", prefix.to_owned()), ("result", result.to_owned())];
            counter!("ripcord_redis_hub_cancels_total", &labels).absolute(count);
        }
    }
}

impl SharedBreaker {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. [`describe_metrics`] lists the metrics.
    pub fn record_metrics(&self) {
        let (stats, prefix) = (self.stats(), self.prefix());
        gauge!("ripcord_redis_breaker_breakers", "prefix" => prefix.to_owned()).set(stats.breakers as f64);
        counter!("ripcord_redis_breaker_published_total", "prefix" => prefix.to_owned()).absolute(stats.published);
        counter!("ripcord_redis_breaker_failures_total", "prefix" => prefix.to_owned()).absolute(stats.failed);
        counter!("ripcord_redis_breaker_received_total", "prefix" => prefix.to_owned()).absolute(stats.received);
        for (state, count) in [("open", stats.opened), ("closed", stats.closed)] {
            let labels = [("prefix", prefix.to_owned()), ("state", state.to_owned())];
            counter!("ripcord_redis_breaker_changes_total", &labels).absolute(count);
        }
    }
}

impl Limiter {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. [`describe_metrics`] lists the metrics.
    pub fn record_metrics(&self) {
        let (stats, name) = (self.stats(), self.name());
        let modes = [
            (Mode::Connected, stats.connected),
            (Mode::Open, stats.open),
            (Mode::Closed, stats.closed),
            (Mode::Local, stats.local),
        ];
        for (mode, decisions) in modes {
            let labels = [("name", name.to_owned()), ("mode", mode.to_string())];
            gauge!("ripcord_redis_limiter_mode", &labels).set(f64::from(u8::from(mode == stats.mode)));
            counter!("ripcord_redis_limiter_decisions_total", &labels).absolute(decisions);
        }
        counter!("ripcord_redis_limiter_saved_total", "name" => name.to_owned()).absolute(stats.saved);
        counter!("ripcord_redis_limiter_failures_total", "name" => name.to_owned()).absolute(stats.failures);
        gauge!("ripcord_redis_limiter_denied_keys", "name" => name.to_owned()).set(stats.denied_keys as f64);
    }
}
