//! The rate and the burst that were set for all processes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{FromRedisValue, ParsingError, Value};
use ripcord_policy::{Quota, Rate};
use serde::Deserialize;
use tokio::sync::watch;

use super::scripts::read_rate;

/// The last settings that this process knows. The scripts read the settings in Redis.
#[derive(Default)]
pub(super) struct Settings {
    state: Mutex<State>,
    /// Changes whenever the settings may have changed.
    pub(super) changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    known: Known,
    /// How many settings of the known version or a later one were heard or read.
    heard: u64,
}

/// The stored settings. A rate or burst that was never set is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Known {
    version: u64,
    rate: Option<Rate>,
    burst: Option<u32>,
}

/// The message about a change.
#[derive(Deserialize)]
pub(super) struct Event {
    kind: String,
    limiter: String,
    version: String,
    tokens: Option<String>,
    period: Option<String>,
    burst: Option<String>,
}

impl Settings {
    /// Records settings that a client has published, unless their version is known or older. Returns whether they are new.
    pub(super) fn hear(&self, heard: Known) -> bool {
        self.change(|state| {
            let is_new = heard.version > state.known.version;
            if is_new {
                state.known = heard;
            }
            // An answer to an earlier question may be older than these settings, also if another answer has brought them already.
            if heard.version >= state.known.version {
                state.heard += 1;
            }
            is_new
        })
    }

    /// Returns how many settings were heard or read. [`read`](Self::read) needs the number from before the question was sent.
    pub(super) fn heard(&self) -> u64 {
        self.lock().heard
    }

    /// Records the settings that Redis has stored. Their version is lower than before if Redis has lost its data. If settings were
    /// heard or read since `heard`, a lower version means that the answer is older than these settings. Returns whether the
    /// settings have changed.
    pub(super) fn read(&self, stored: Known, heard: u64) -> bool {
        self.change(|state| {
            let is_old = stored.version < state.known.version && state.heard != heard;
            let is_new = !is_old && stored != state.known;
            if is_new {
                *state = State { known: stored, heard: state.heard + 1 };
            }
            is_new
        })
    }

    /// Makes a change. `change` returns whether the settings have changed.
    fn change(&self, change: impl FnOnce(&mut State) -> bool) -> bool {
        let is_new = change(&mut self.lock());
        if is_new {
            self.changes.send_replace(());
        }
        is_new
    }

    /// Returns the quota of a bucket whose builder set `quota`.
    pub(super) fn apply(&self, quota: Quota) -> Quota {
        let known = self.lock().known;
        let (rate, burst) = (known.rate.unwrap_or(quota.rate()), known.burst.unwrap_or(quota.burst()));
        Quota::new(rate, burst).unwrap_or(quota)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Event {
    /// Reads a message about the limiter with this name.
    pub(super) fn read(message: &[u8], limiter: &str) -> Option<Known> {
        let event: Event = serde_json::from_slice(message).ok()?;
        if event.kind != "limit" || event.limiter != limiter {
            return None;
        }
        known(Some(event.version), event.tokens, event.period, event.burst)
    }
}

/// The fields of the settings in Redis, in the order in which [`Known`] is read.
pub(super) const FIELDS: [&str; 4] = ["version", "tokens", "period", "burst"];

impl FromRedisValue for Known {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let [version, tokens, period, burst]: [Option<String>; 4] = FromRedisValue::from_redis_value(value)?;
        known(version, tokens, period, burst)
            .ok_or_else(|| "the stored settings of the limiter are malformed".to_owned().into())
    }
}

fn known(
    version: Option<String>,
    tokens: Option<String>,
    period: Option<String>,
    burst: Option<String>,
) -> Option<Known> {
    let version = version.map_or(Ok(0), |text| text.parse()).ok()?;
    let rate = match (tokens, period) {
        (Some(tokens), Some(period)) => Some(read_rate(tokens.parse().ok()?, period.parse().ok()?)),
        _ => None,
    };
    let burst = burst.map(|text| text.parse()).transpose().ok()?;
    Some(Known { version, rate, burst })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::scripts::write_rate;
    use super::*;

    #[test]
    fn rate_is_read_as_it_was_written() {
        let rates = [Rate::INFINITE, Rate::ZERO, Rate::per_second(0.1), Rate::per(3, Duration::from_nanos(7_000_001))];
        for rate in rates {
            let (tokens, period) = write_rate(rate);
            assert_eq!(read_rate(tokens.to_string().parse().unwrap(), period), rate);
        }
    }

    #[test]
    fn older_event_is_not_heard() {
        let settings = Settings::default();
        let event = |version: u64, burst: u32| {
            let event = format!(r#"{{"kind":"limit","limiter":"api","version":"{version}","burst":"{burst}"}}"#);
            Event::read(event.as_bytes(), "api").expect("an event")
        };
        assert!(settings.hear(event(2, 20)) && !settings.hear(event(1, 10)) && !settings.hear(event(2, 20)));
        let quota = settings.apply(Quota::new(Rate::per_second(1.0), 1).unwrap());
        assert_eq!((quota.rate(), quota.burst()), (Rate::per_second(1.0), 20));
        let heard = settings.heard();
        assert!(settings.read(Known::default(), heard), "Redis has lost its data");
        assert!(!settings.read(Known::default(), heard) && settings.hear(event(1, 10)));
    }

    #[test]
    fn answer_from_before_an_event_changes_nothing() {
        let settings = Settings::default();
        let known = |version, burst| Known { version, rate: None, burst: Some(burst) };
        let heard = settings.heard();
        assert!(settings.hear(known(2, 20)));
        assert!(!settings.read(known(1, 10), heard));
        assert!(settings.read(known(3, 30), heard), "it is newer than the event");
    }

    #[test]
    fn late_answer_from_before_a_change_that_was_read_changes_nothing() {
        let known = |version, burst| Known { version, rate: None, burst: Some(burst) };
        let settings = Settings::default();
        let late = settings.heard();
        assert!(settings.read(known(2, 20), settings.heard()));
        assert!(!settings.read(known(1, 10), late), "the change was read");
        let late = settings.heard();
        assert!(!settings.hear(known(2, 20)));
        assert!(!settings.read(known(1, 10), late), "the change was read, then heard");
    }

    #[test]
    fn message_about_something_else_is_no_event() {
        for message in ["", "{}", r#"{"kind":"cancel"}"#, r#"{"kind":"limit","limiter":"other","version":"1"}"#] {
            assert_eq!(Event::read(message.as_bytes(), "api"), None);
        }
    }
}
