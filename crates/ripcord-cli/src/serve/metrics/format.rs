//! The two text formats of metrics.
//!
//! The exporter writes Prometheus' text. OpenMetrics differs in a few lines, which [`to_open_metrics`] rewrites.

use axum::http::{HeaderMap, header::ACCEPT};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Format {
    OpenMetrics,
    /// The format of version 0.0.4, which every scraper supports.
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
        // If the weights are equal, the client has named OpenMetrics and also accepts text.
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

/// Rewrites Prometheus' text of version 0.0.4 as OpenMetrics.
///
/// In OpenMetrics, `HELP` and `TYPE` of a counter name the family, without the `_total` of its samples. No line is empty, and the
/// last line is `# EOF`.
pub(super) fn to_open_metrics(prometheus: &str) -> String {
    let mut text = String::with_capacity(prometheus.len());
    let mut lines = prometheus.lines().filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix("# ").and_then(|comment| comment.split(' ').nth(1)).unwrap_or_default();
        // A `HELP` comes before its `TYPE`.
        let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE "));
        let is_counter =
            line == format!("# TYPE {name} counter") || kind.is_some_and(|kind| kind == format!("{name} counter"));
        match name.strip_suffix("_total") {
            Some(family) if is_counter => text.push_str(&line.replacen(name, family, 1)),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text.push_str("# EOF\n");
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
        // The headers of Prometheus 2 and 3.
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
    fn counters_are_named_after_their_family_in_open_metrics() {
        let prometheus = "# HELP requests_total Requests that sent a counter.\n# TYPE requests_total counter\nrequests_total{route=\"/\"} 3\n\n\
                    # HELP duration_seconds Duration.\n# TYPE duration_seconds histogram\nduration_seconds_sum 1.5\n\n\
                    # TYPE bare_total counter\nbare_total 1\n\
                    # HELP sum_total A gauge.\n# TYPE sum_total gauge\nsum_total 2\n";
        let open_metrics = "# HELP requests Requests that sent a counter.\n# TYPE requests counter\nrequests_total{route=\"/\"} 3\n\
                            # HELP duration_seconds Duration.\n# TYPE duration_seconds histogram\nduration_seconds_sum 1.5\n\
                            # TYPE bare counter\nbare_total 1\n\
                            # HELP sum_total A gauge.\n# TYPE sum_total gauge\nsum_total 2\n# EOF\n";
        assert_eq!(to_open_metrics(prometheus), open_metrics);
    }
}
