//! Metrics through the facade crate `metrics`.
//!
//! A policy counts in its own statistics, at the same cost with and without the feature. `record_metrics` copies the statistics
//! to the recorder.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::breaker::State;
use crate::cache::Key;
use crate::limiter::RateLimiterStats;
use crate::{
    Bulkhead, Cache, CallStats, CircuitBreaker, Fallback, Hedge, KeyedCircuitBreaker, KeyedLimiter, RateLimiter, Retry,
    Stack, WorkerPool,
};

/// The counters, with their help texts.
const COUNTERS: [(&str, &str); 28] = [
    ("ripcord_policy_calls_started_total", "Calls that a policy admitted."),
    ("ripcord_policy_calls_total", "Calls through a policy that ended or were rejected, by outcome."),
    ("ripcord_breaker_opened_total", "Times that a circuit breaker opened."),
    (
        "ripcord_breaker_opened_by_peer_total",
        "Times that a circuit breaker opened because one of another process had opened.",
    ),
    ("ripcord_breaker_slow_total", "Calls that a circuit breaker counted as slow."),
    ("ripcord_breaker_stale_total", "Results that a circuit breaker ignored because it had changed state."),
    ("ripcord_cache_failed_writes_total", "Writes that the second level of a cache has given up."),
    ("ripcord_cache_flushes_total", "Times that the second level removed all values from a cache."),
    ("ripcord_cache_inserted_total", "Values inserted into a cache."),
    ("ripcord_cache_invalidated_total", "Keys that the second level removed from a cache."),
    ("ripcord_cache_panicked_total", "Loads of a cache that panicked."),
    ("ripcord_cache_reads_total", "Reads of a cache, by result."),
    ("ripcord_cache_removed_total", "Values removed from a cache, by reason."),
    ("ripcord_cache_second_level_total", "Reads from the second level of a cache, by result."),
    ("ripcord_cache_waited_total", "Loads of a cache that waited for another process."),
    ("ripcord_fallback_fallbacks_total", "Calls answered by a fallback."),
    ("ripcord_hedge_budget_refused_total", "Hedges that the budget refused."),
    ("ripcord_hedge_hedges_total", "Second attempts started by a hedge."),
    ("ripcord_hedge_wins_total", "Calls that a second attempt won."),
    ("ripcord_limiter_deadline_refused_total", "Waits that a limiter refused because of the deadline."),
    ("ripcord_limiter_refunded_total", "Tokens returned to a limiter."),
    ("ripcord_limiter_tokens_total", "Requests for tokens of a limiter, by result."),
    ("ripcord_limiter_wait_milliseconds_total", "Time spent waiting for tokens of a limiter."),
    ("ripcord_pool_completed_total", "Jobs of a worker pool that returned."),
    ("ripcord_pool_panicked_total", "Jobs of a worker pool that panicked."),
    ("ripcord_retry_refusals_total", "Retries refused, by reason."),
    ("ripcord_retry_retries_total", "Attempts after the first of a call."),
    ("ripcord_stack_attempts_total", "Calls that a stack sent."),
];

/// The gauges, with their help texts and units.
const GAUGES: [(&str, &str, Unit); 15] = [
    ("ripcord_policy_calls_in_flight", "Calls through a policy in flight.", Unit::Count),
    ("ripcord_breaker_breakers", "Circuit breakers held, one for each key.", Unit::Count),
    ("ripcord_breaker_half_open", "Circuit breakers of all keys that are half-open.", Unit::Count),
    ("ripcord_breaker_open", "Circuit breakers of all keys that are open.", Unit::Count),
    ("ripcord_breaker_state", "State of a circuit breaker: 0 closed, 1 half-open, 2 open.", Unit::Count),
    ("ripcord_bulkhead_limit", "Maximum number of calls in a bulkhead.", Unit::Count),
    (
        "ripcord_bulkhead_unloaded_latency_seconds",
        "Latency of calls without load, as an adaptive bulkhead measured it.",
        Unit::Seconds,
    ),
    ("ripcord_bulkhead_waiting", "Calls that wait for a bulkhead.", Unit::Count),
    ("ripcord_cache_entries", "Values in a cache.", Unit::Count),
    ("ripcord_cache_weight", "Sum of the weights in a cache.", Unit::Count),
    ("ripcord_limiter_longest_wait_seconds", "Longest wait for tokens of a limiter.", Unit::Seconds),
    ("ripcord_limiter_waiters", "Callers that wait for a token of a limiter.", Unit::Count),
    ("ripcord_pool_queued", "Jobs that wait for a worker.", Unit::Count),
    ("ripcord_pool_running", "Jobs that a worker runs.", Unit::Count),
    ("ripcord_pool_workers", "Workers of a pool.", Unit::Count),
];

/// Registers the help texts of this crate's metrics with the global recorder of the crate `metrics`.
///
/// Call this function once, after your program has installed a recorder, for example of a Prometheus exporter.
///
/// With the feature `metrics`, every policy has a method `record_metrics(name)`, which copies the policy's statistics to the
/// recorder. The recorder sees changes only after the next call of `record_metrics`. So call `record_metrics` at an
/// interval, or each time before the metrics are read. The argument `name` becomes the label `name` of each metric. Give two
/// policies of the same kind different names. Otherwise they overwrite each other's metrics.
///
/// These metrics exist for every policy. Their label `policy` is `retry`, `hedge`, `breaker`, `bulkhead`, `fallback`,
/// `limiter`, `cache`, `pool` or `stack`. A policy with keys has the same label as the policy without keys. The table shows
/// the values of the label `outcome`:
///
/// | metric | type | labels |
/// |---|---|---|
/// | `ripcord_policy_calls_started_total` | counter | `policy`, `name` |
/// | `ripcord_policy_calls_total` | counter | `policy`, `name`, `outcome`: `succeeded`, `failed`, `canceled`, `rejected` |
/// | `ripcord_policy_calls_in_flight` | gauge | `policy`, `name` |
///
/// `failed` counts the outcome [`Outcome::Failure`](crate::Outcome::Failure). `canceled` counts the outcome
/// [`Outcome::Neutral`](crate::Outcome::Neutral) and dropped calls: for a retry, these are also calls that a policy below it has
/// refused. `rejected` counts calls that the policy itself refused, or whose context had ended before they started.
///
/// Each policy also has metrics of its own. Their names start with `ripcord_` and the value of the label `policy`, for example
/// `ripcord_retry_retries_total` and `ripcord_breaker_state`. These metrics have the label `name`. A metric that counts by
/// result or by reason also has the label `result` or `reason`. The help text of each metric says what it measures.
///
/// ```
/// use ripcord_policy::Retry;
///
/// // Once, after an exporter was installed:
/// ripcord_policy::describe_metrics();
///
/// let retry = Retry::<std::io::Error>::builder().build()?;
/// // In the handler of `/metrics`, before the exporter renders:
/// retry.record_metrics("inventory");
/// # Ok::<(), ripcord_policy::ConfigError>(())
/// ```
pub fn describe_metrics() {
    for (metric, help) in COUNTERS {
        describe_counter!(metric, Unit::Count, help);
    }
    for (metric, help, unit) in GAUGES {
        describe_gauge!(metric, unit, help);
    }
}

/// Copies the statistics of one policy.
struct Recording<'a> {
    policy: &'static str,
    name: &'a str,
}

impl<'a> Recording<'a> {
    fn new(policy: &'static str, name: &'a str, calls: CallStats) -> Self {
        let recording = Recording { policy, name };
        let started = counter!("ripcord_policy_calls_started_total", "policy" => policy, "name" => name.to_owned());
        started.absolute(calls.started);
        let outcomes = [
            ("succeeded", calls.succeeded),
            ("failed", calls.failed),
            ("canceled", calls.canceled),
            ("rejected", calls.rejected),
        ];
        for (outcome, count) in outcomes {
            let labels = [("policy", policy.to_owned()), ("name", name.to_owned()), ("outcome", outcome.to_owned())];
            counter!("ripcord_policy_calls_total", &labels).absolute(count);
        }
        let in_flight = gauge!("ripcord_policy_calls_in_flight", "policy" => policy, "name" => name.to_owned());
        in_flight.set(calls.in_flight() as f64);
        recording
    }

    fn counters<const N: usize>(&self, counters: [(&'static str, u64); N]) {
        for (figure, count) in counters {
            let metric = format!("ripcord_{}_{figure}_total", self.policy);
            counter!(metric, "name" => self.name.to_owned()).absolute(count);
        }
    }

    fn counters_by<const N: usize>(&self, figure: &str, label: &'static str, counters: [(&'static str, u64); N]) {
        for (value, count) in counters {
            let metric = format!("ripcord_{}_{figure}_total", self.policy);
            counter!(metric, "name" => self.name.to_owned(), label => value).absolute(count);
        }
    }

    fn gauges<const N: usize>(&self, gauges: [(&'static str, f64); N]) {
        for (figure, value) in gauges {
            gauge!(format!("ripcord_{}_{figure}", self.policy), "name" => self.name.to_owned()).set(value);
        }
    }
}

impl<E> Retry<E> {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. Call this method at an interval, or
    /// each time before the metrics are read. `name` becomes the label `name` of the metrics. See [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        let recording = Recording::new("retry", name, stats.calls);
        recording.counters([("retries", stats.retries)]);
        let refusals = [("deadline", stats.deadline_refused), ("budget", stats.budget_refused)];
        recording.counters_by("refusals", "reason", refusals);
    }
}

impl Hedge {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. Call this method at an interval, or
    /// each time before the metrics are read. `name` becomes the label `name` of the metrics. See [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        Recording::new("hedge", name, stats.calls).counters([
            ("hedges", stats.hedges),
            ("wins", stats.hedge_wins),
            ("budget_refused", stats.budget_refused),
        ]);
    }
}

impl<C> CircuitBreaker<C> {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. Call this method at an interval, or
    /// each time before the metrics are read. `name` becomes the label `name` of the metrics. See [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        let recording = Recording::new("breaker", name, stats.calls);
        recording.counters([
            ("opened", stats.opened),
            ("opened_by_peer", stats.opened_by_peer),
            ("slow", stats.slow),
            ("stale", stats.stale),
        ]);
        recording.gauges([(
            "state",
            match stats.state {
                State::Closed => 0.0,
                State::HalfOpen => 1.0,
                State::Open => 2.0,
            },
        )]);
    }
}

impl<K: std::hash::Hash + Eq + Clone + std::fmt::Display, C: Clone> KeyedCircuitBreaker<K, C> {
    /// Copies the current [`stats`](Self::stats) of all keys together to the recorder of the crate `metrics`. Call this method
    /// at an interval, or each time before the metrics are read. `name` becomes the label `name` of the metrics. See
    /// [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        let recording = Recording::new("breaker", name, stats.calls);
        recording.counters([
            ("opened", stats.opened),
            ("opened_by_peer", stats.opened_by_peer),
            ("slow", stats.slow),
            ("stale", stats.stale),
        ]);
        recording.gauges([
            ("breakers", stats.breakers as f64),
            ("open", stats.open as f64),
            ("half_open", stats.half_open as f64),
        ]);
    }
}

impl Bulkhead {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. Call this method at an interval, or
    /// each time before the metrics are read. `name` becomes the label `name` of the metrics. See [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        let recording = Recording::new("bulkhead", name, stats.calls);
        recording.gauges([("waiting", stats.waiting as f64), ("limit", stats.limit as f64)]);
        if let Some(latency) = stats.unloaded_latency {
            recording.gauges([("unloaded_latency_seconds", latency.as_secs_f64())]);
        }
    }
}

impl<T: 'static, E: 'static> Fallback<T, E> {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. Call this method at an interval, or
    /// each time before the metrics are read. `name` becomes the label `name` of the metrics. See [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        Recording::new("fallback", name, stats.calls).counters([("fallbacks", stats.fallbacks)]);
    }
}

impl RateLimiter {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. Call this method at an interval, or
    /// each time before the metrics are read. `name` becomes the label `name` of the metrics. See [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        record_limiter(name, &self.stats());
    }
}

impl<K: std::hash::Hash + Eq + Clone> KeyedLimiter<K> {
    /// Copies the current [`stats`](Self::stats) of all keys together to the recorder of the crate `metrics`. Call this method
    /// at an interval, or each time before the metrics are read. `name` becomes the label `name` of the metrics. See
    /// [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        record_limiter(name, &self.stats());
    }
}

fn record_limiter(name: &str, stats: &RateLimiterStats) {
    let recording = Recording::new("limiter", name, stats.calls);
    recording.counters_by(
        "tokens",
        "result",
        [
            ("allowed", stats.allowed),
            ("denied", stats.denied),
            ("reserved", stats.reserved),
            ("reservation_canceled", stats.reservations_canceled),
            ("waited", stats.waited),
            ("unavailable", stats.unavailable),
        ],
    );
    recording.counters([
        ("deadline_refused", stats.deadline_refused),
        ("refunded", stats.refunded),
        ("wait_milliseconds", u64::try_from(stats.total_wait.as_millis()).unwrap_or(u64::MAX)),
    ]);
    recording.gauges([("waiters", stats.waiters as f64), ("longest_wait_seconds", stats.longest_wait.as_secs_f64())]);
}

impl<K, V> Cache<K, V>
where
    K: Key,
    V: Clone + Send + Sync + 'static,
{
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. Call this method at an interval, or
    /// each time before the metrics are read. `name` becomes the label `name` of the metrics. See [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        let recording = Recording::new("cache", name, stats.calls);
        recording.counters_by(
            "reads",
            "result",
            [
                ("hit", stats.hits),
                ("stale", stats.stale_hits),
                ("negative", stats.negative_hits),
                ("miss", stats.misses),
                ("shared", stats.coalesced),
            ],
        );
        recording.counters_by(
            "removed",
            "reason",
            [
                ("evicted", stats.evicted),
                ("expired", stats.expired),
                ("replaced", stats.replaced),
                ("removed", stats.removed),
            ],
        );
        recording.counters_by(
            "second_level",
            "result",
            [
                ("hit", stats.second_level_hits),
                ("miss", stats.second_level_misses),
                ("unavailable", stats.second_level_unavailable),
            ],
        );
        recording.counters([
            ("failed_writes", stats.failed_writes),
            ("flushes", stats.flushes),
            ("inserted", stats.inserted),
            ("invalidated", stats.invalidated),
            ("panicked", stats.panicked),
            ("waited", stats.waited),
        ]);
        recording.gauges([("entries", stats.entries as f64), ("weight", stats.weight as f64)]);
    }
}

impl WorkerPool {
    /// Copies the current [`stats`](Self::stats) to the recorder of the crate `metrics`. Call this method at an interval, or
    /// each time before the metrics are read. `name` becomes the label `name` of the metrics. See [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        let recording = Recording::new("pool", name, stats.calls);
        recording.counters([("completed", stats.completed), ("panicked", stats.panicked)]);
        recording.gauges([
            ("queued", stats.queued as f64),
            ("running", stats.running as f64),
            ("workers", stats.workers.len() as f64),
        ]);
    }
}

impl<T: 'static, E: 'static, K> Stack<T, E, K> {
    /// Copies the current statistics of the stack and of its layers to the recorder of the crate `metrics`. Call this method at
    /// an interval, or each time before the metrics are read. `name` becomes the label `name` of the metrics. See
    /// [`describe_metrics`].
    pub fn record_metrics(&self, name: &str) {
        let stats = self.stats();
        Recording::new("stack", name, stats.calls).counters([("attempts", stats.attempts)]);
        if let Some(fallback) = self.fallback() {
            fallback.record_metrics(name);
        }
        self.record_cache(name);
        if let Some(retry) = self.retry() {
            retry.record_metrics(name);
        }
        if let Some(hedge) = self.hedge() {
            hedge.record_metrics(name);
        }
        if let Some(breaker) = self.breaker() {
            breaker.record_metrics(name);
        }
        if let Some(limiter) = self.limiter() {
            limiter.record_metrics(name);
        }
        if let Some(bulkhead) = self.bulkhead() {
            bulkhead.record_metrics(name);
        }
    }
}
