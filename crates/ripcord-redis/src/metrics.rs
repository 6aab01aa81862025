//! Metrics through the facade crate `metrics`.
//!
//! Each part counts in its own statistics, at the same cost with and without the feature. `record_metrics` copies the statistics
//! to the recorder.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::{Client, Limiter, Mode};

/// The counters, with their help texts.
const COUNTERS: [(&str, &str); 6] = [
    ("ripcord_redis_commands_total", "Commands sent to Redis."),
    ("ripcord_redis_failures_total", "Commands that Redis did not answer."),
    ("ripcord_redis_reconnects_total", "Connections opened after the first."),
    ("ripcord_redis_limiter_decisions_total", "Decisions of a limiter, by mode."),
    ("ripcord_redis_limiter_failures_total", "Commands of a limiter that failed."),
    ("ripcord_redis_limiter_saved_total", "Requests that a limiter denied without a command."),
];

/// The gauges, with their help texts.
const GAUGES: [(&str, &str); 4] = [
    ("ripcord_redis_available", "Whether Redis answered the last command: 1 or 0."),
    ("ripcord_redis_peers", "Clients with the same prefix."),
    ("ripcord_redis_limiter_denied_keys", "Keys that a limiter knows to be denied."),
    ("ripcord_redis_limiter_mode", "Where a limiter decides: 1 for its mode, and 0 for the others."),
];

/// Registers the help texts of this crate's metrics with the global recorder of the crate `metrics`. Call this function once,
/// after your program has installed a recorder.
///
/// The method `record_metrics` of a type copies its statistics to the recorder. Call it at an interval, or each time before the
/// metrics are read.
///
/// # Metrics
///
/// | metric | type | labels |
/// |---|---|---|
/// | `ripcord_redis_available`: 1 if Redis answered the last command, otherwise 0 | gauge | `prefix` |
/// | `ripcord_redis_peers`: clients with the same prefix | gauge | `prefix` |
/// | `ripcord_redis_commands_total`: commands sent | counter | `prefix` |
/// | `ripcord_redis_failures_total`: commands that were not answered | counter | `prefix` |
/// | `ripcord_redis_reconnects_total`: connections opened after the first | counter | `prefix` |
/// | `ripcord_redis_limiter_mode`: 1 for the mode of the limiter, and 0 for the other modes | gauge | `name`, `mode` |
/// | `ripcord_redis_limiter_decisions_total`: decisions in each mode | counter | `name`, `mode` |
/// | `ripcord_redis_limiter_saved_total`: requests denied without a command | counter | `name` |
/// | `ripcord_redis_limiter_failures_total`: commands that were not answered, or answered with an error | counter | `name` |
/// | `ripcord_redis_limiter_denied_keys`: keys that are known to be denied | gauge | `name` |
///
/// | label | values |
/// |---|---|
/// | `prefix` | the [prefix](Client::prefix) of the client |
/// | `name` | the [name](Limiter::name) of the limiter |
/// | `mode` | `connected`, `open`, `closed` or `local`: see [`Mode`] |
///
/// The requests to a limiter are among the metrics of ripcord-policy.
pub fn describe_metrics() {
    for (metric, help) in COUNTERS {
        describe_counter!(metric, Unit::Count, help);
    }
    for (metric, help) in GAUGES {
        describe_gauge!(metric, Unit::Count, help);
    }
}

impl Client {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. See [`describe_metrics`].
    pub fn record_metrics(&self) {
        let (stats, prefix) = (self.stats(), self.prefix());
        gauge!("ripcord_redis_available", "prefix" => prefix.to_owned()).set(f64::from(u8::from(stats.is_available)));
        gauge!("ripcord_redis_peers", "prefix" => prefix.to_owned()).set(stats.peers as f64);
        counter!("ripcord_redis_commands_total", "prefix" => prefix.to_owned()).absolute(stats.commands);
        counter!("ripcord_redis_failures_total", "prefix" => prefix.to_owned()).absolute(stats.failures);
        counter!("ripcord_redis_reconnects_total", "prefix" => prefix.to_owned()).absolute(stats.reconnects);
    }
}

impl Limiter {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. See [`describe_metrics`].
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
