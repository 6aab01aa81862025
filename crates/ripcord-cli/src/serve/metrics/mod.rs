//! The metrics, for Prometheus.
//!
//! The crates of this workspace record the metrics. Requests are recorded when they end. The numbers of the layer, the policies and
//! the process are read at each scrape.

mod format;
mod process;
mod refusals;

use std::{fmt, sync::Arc};

use metrics::{Unit, counter, describe_counter, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use ripcord_http::server::{ContextLayer, Finished};

pub(super) use self::format::Format;
use self::format::to_open_metrics;
pub(crate) use self::refusals::Refusals;
use crate::search::Search;

const REFUSALS: &str = "ripcord_http_refusals_total";

/// The recorder of all metrics. Clones share the metrics.
#[derive(Clone)]
pub struct Recorder {
    recorder: Arc<PrometheusRecorder>,
    text: PrometheusHandle,
}

impl Recorder {
    /// Creates a recorder, and makes it the recorder of the process if the process has no recorder.
    ///
    /// Call this function before the service's first task starts, because the gauge of tasks does not count tasks that started
    /// earlier. In a process with several services, as in tests, only the first recorder receives the metrics of events, such as
    /// ended contexts.
    pub fn install() -> Recorder {
        // From one millisecond to eight seconds, which is longer than the default timeout.
        let buckets: [f64; 14] = std::array::from_fn(|power| 0.001 * f64::from(1 << power));
        let builder = PrometheusBuilder::new().set_buckets(&buckets).expect("there are buckets");
        let recorder = Arc::new(builder.build_recorder());
        // This fails if the process already has a recorder.
        let _ = metrics::set_global_recorder(Arc::clone(&recorder));
        with_local_recorder(&recorder, || {
            ripcord::describe_metrics();
            ripcord_policy::describe_metrics();
            ripcord_http::describe_metrics();
            ripcord_sql::describe_metrics();
            let help = "Requests refused because they do not parse as HTTP or are too large, by status.";
            describe_counter!(REFUSALS, Unit::Count, help);
        });
        Recorder { text: recorder.handle(), recorder }
    }
}

/// The metrics of the service.
pub(super) struct Metrics {
    recorder: Recorder,
    layer: ContextLayer,
    refusals: Refusals,
    search: Search,
}

impl Metrics {
    pub(super) fn new(recorder: Recorder, layer: ContextLayer, refusals: Refusals, search: Search) -> Metrics {
        Metrics { recorder, layer, refusals, search }
    }

    /// Counts a request that has ended.
    pub(super) fn count(&self, request: &Finished<'_>) {
        with_local_recorder(&self.recorder.recorder, || request.record_metrics());
    }

    /// Returns all metrics as text in this format.
    pub(super) fn text(&self, format: Format) -> String {
        with_local_recorder(&self.recorder.recorder, || self.read());
        let mut text = self.recorder.text.render();
        process::write(&mut text);
        match format {
            Format::OpenMetrics => to_open_metrics(&text),
            Format::Prometheus => text,
        }
    }

    /// Records the numbers of the layer, the policies and the refusals.
    fn read(&self) {
        self.layer.record_metrics();
        for backend in self.search.backends() {
            backend.stack().record_metrics(backend.name());
        }
        for (status, count) in self.refusals.by_status() {
            counter!(REFUSALS, "status" => status.to_string()).absolute(count);
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
