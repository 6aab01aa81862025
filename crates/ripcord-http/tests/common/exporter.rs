//! What an exporter of the crate `metrics` shows.

use std::collections::BTreeSet;

use metrics_exporter_prometheus::PrometheusBuilder;

/// Returns what an exporter shows after `record`, which records on this thread.
pub(crate) fn rendered(record: impl FnOnce()) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, record);
    handle.render()
}

#[track_caller]
pub(crate) fn assert_has(text: &str, samples: &[&str]) {
    for sample in samples {
        assert!(text.lines().any(|line| line == *sample), "{sample} is not in\n{text}");
    }
}

/// Asserts that `text` shows `count` metrics whose names start with `prefix`, and that each has a help text.
#[track_caller]
pub(crate) fn assert_described(text: &str, prefix: &str, count: usize) {
    let names = |comment| text.lines().filter_map(move |line| line.strip_prefix(comment)?.split(' ').next());
    let described: BTreeSet<_> = names("# HELP ").collect();
    let recorded: BTreeSet<_> = names("# TYPE ").filter(|name| name.starts_with(prefix)).collect();
    assert_eq!(recorded.len(), count, "{recorded:?}");
    assert!(recorded.is_subset(&described), "{recorded:?} {described:?}");
}
