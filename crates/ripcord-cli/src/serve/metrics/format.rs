//! The two text formats of metrics.
//!
//! `prometheus-client` writes OpenMetrics. Prometheus' older text format differs in a few lines, which [`to_prometheus`] rewrites.

use axum::http::{HeaderMap, header::ACCEPT};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Format {
    OpenMetrics,
    /// The format of version 0.0.4, which every scraper and person reads.
    Prometheus,
}

impl Format {
    /// Returns the format that `Accept` prefers. The default is Prometheus' text, as with Prometheus' own clients.
    pub(in crate::serve) fn negotiate(headers: &HeaderMap) -> Format {
        let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
        let (mut open_metrics, mut text) = (0, 0);
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
            match media_type.as_str() {
                "application/openmetrics-text" => open_metrics = open_metrics.max(weight),
                "text/plain" | "text/*" | "*/*" => text = text.max(weight),
                _ => {}
            }
        }
        // On a tie, the client has named OpenMetrics and accepts text too.
        if open_metrics > 0 && open_metrics >= text { Format::OpenMetrics } else { Format::Prometheus }
    }

    pub(in crate::serve) fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A weight such as `0.5`, in thousandths. A malformed weight counts as 0.
fn thousandths(weight: &str) -> u32 {
    match weight.parse::<f64>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u32,
        _ => 0,
    }
}

/// Rewrites OpenMetrics' text as Prometheus' text of version 0.0.4.
///
/// There a counter's `HELP` and `TYPE` name the sample, which ends in `_total`; units and the end have no line.
pub(super) fn to_prometheus(open_metrics: &str) -> String {
    let counters: Vec<&str> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let described =
            ["# HELP ", "# TYPE "].into_iter().find_map(|keyword| Some((keyword, line.strip_prefix(keyword)?)));
        match described.and_then(|(keyword, rest)| Some((keyword, rest.split_once(' ')?))) {
            Some((keyword, (name, rest))) if counters.contains(&name) => {
                text.extend([keyword, name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn negotiated(accept: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        Format::negotiate(&headers)
    }

    #[test]
    fn accept_chooses_the_format_and_text_is_the_default() {
        // What Prometheus 2 and 3 send.
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(negotiated(&[prometheus]), Format::OpenMetrics);
        assert_eq!(negotiated(&["application/openmetrics-text"]), Format::OpenMetrics);
        assert_eq!(negotiated(&["text/plain", "application/openmetrics-text"]), Format::OpenMetrics);
        for accept in [
            &[][..],
            &["*/*"],
            &["text/html,application/xhtml+xml,*/*;q=0.8"],
            &["text/plain;version=0.0.4"],
            &["text/plain;q=0.9, application/openmetrics-text;q=0.1"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=x"],
            &["nonsense"],
        ] {
            assert_eq!(negotiated(accept), Format::Prometheus, "{accept:?}");
        }
    }

    #[test]
    fn counters_are_named_after_their_samples_in_prometheus_text() {
        let open_metrics = "# HELP requests Requests.\n# TYPE requests counter\nrequests_total{route=\"/\"} 3\n\
                            # HELP duration_seconds Duration.\n# TYPE duration_seconds histogram\n# UNIT duration_seconds seconds\n\
                            duration_seconds_sum 1.5\n# HELP open Open.\n# TYPE open gauge\nopen 2\n# EOF\n";
        let text = "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total{route=\"/\"} 3\n\
                    # HELP duration_seconds Duration.\n# TYPE duration_seconds histogram\nduration_seconds_sum 1.5\n\
                    # HELP open Open.\n# TYPE open gauge\nopen 2\n";
        assert_eq!(to_prometheus(open_metrics), text);
    }
}
