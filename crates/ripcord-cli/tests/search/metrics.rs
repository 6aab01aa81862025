//! Tests `/metrics`: its two formats and its numbers.

use std::{collections::BTreeMap, time::Duration};

use axum::http::StatusCode;

use super::{backend::Backend, service::TestService};

/// Checks that every line follows the format. Returns the samples by name and labels.
#[track_caller]
fn parse(text: &str) -> BTreeMap<&str, f64> {
    let (mut kinds, mut samples) = (BTreeMap::new(), BTreeMap::new());
    let lines = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("it ends with its end: {text}")).lines();
    for line in lines {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (what, name, text) = (words.next(), words.next().expect("a name"), words.next().expect("a text"));
            match what {
                Some("TYPE") => {
                    assert!(["counter", "gauge", "histogram"].contains(&text), "{line}");
                    assert_eq!(kinds.insert(name, text), None, "one family, one type: {line}");
                }
                Some("HELP") => assert!(text.ends_with('.'), "a sentence: {line}"),
                Some("UNIT") => assert!(name.ends_with(text), "{line}"),
                _ => panic!("no comment of the format: {line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().unwrap_or_else(|error| panic!("{error}: {line}"));
        let (name, labels) = sample.split_once('{').map_or((sample, None), |(name, labels)| (name, Some(labels)));
        // Standard metrics have no prefix.
        assert!(name.starts_with("ripcord_") || name.starts_with("process_"), "{line}");
        if let Some(labels) = labels {
            let labels = labels.strip_suffix("\"}").unwrap_or_else(|| panic!("labels without an end: {line}"));
            for label in labels.split("\",") {
                let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
                assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{line}");
                assert!(!value.contains(['"', '\n']), "{line}");
            }
        }
        let family = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let kind = kinds.get(name).or_else(|| kinds.get(family?)).unwrap_or_else(|| panic!("no type before {line}"));
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{line}");
        assert_eq!(samples.insert(sample, value), None, "twice: {line}");
    }
    samples
}

#[tokio::test]
async fn open_metrics_text_is_well_formed_and_counts_each_request() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    let open_metrics = [("accept", "application/openmetrics-text; version=1.0.0")];
    let before = service.get_with("/metrics", &open_metrics).await.expect("no panic");
    assert_eq!(before.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    parse(&before.body);

    let searching = service.get("/search?q=a");
    backend.arrival().await.find("it");
    searching.await.expect("no panic");
    let slow = service.get("/slow");
    let late = service.get("/search?q=b&timeout=1s");
    backend.arrival().await;
    service.time.advance(Duration::from_secs(5));
    assert_eq!(slow.await.expect("no panic").status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(late.await.expect("no panic").status, StatusCode::GATEWAY_TIMEOUT);
    for path in ["/search", "/nosuch", "/nosuch/either"] {
        service.get(path).await.expect("no panic");
    }

    let after = service.get_with("/metrics", &open_metrics).await.expect("no panic").body;
    let samples = parse(&after);
    let requests = |route: &str, status: u16| {
        let sample = format!("ripcord_http_requests_total{{method=\"GET\",route=\"{route}\",status=\"{status}\"}}");
        samples.get(&*sample).copied()
    };
    assert_eq!(requests("/search", 200), Some(1.0));
    assert_eq!(requests("/search", 400), Some(1.0));
    assert_eq!(requests("/search", 504), Some(1.0));
    assert_eq!(requests("/slow", 504), Some(1.0));
    assert_eq!(requests("unmatched", 404), Some(2.0), "clients may invent any number of paths: {after}");
    assert_eq!(samples["ripcord_http_requests_in_flight"], 1.0, "this one");

    let buckets = samples.iter().filter(|(sample, _)| {
        sample.starts_with("ripcord_http_request_duration_seconds_bucket{") && sample.contains("\"/slow\"")
    });
    let counts: Vec<_> = buckets.map(|(_, count)| *count).collect();
    assert_eq!(counts.len(), 15, "{after}");
    assert_eq!(samples["ripcord_http_request_duration_seconds_count{route=\"/slow\"}"], 1.0);
    assert_eq!(samples["ripcord_http_request_duration_seconds_sum{route=\"/slow\"}"], 5.0, "by the service's clock");
    assert_eq!(samples["ripcord_http_request_duration_seconds_bucket{route=\"/slow\",le=\"4.096\"}"], 0.0);
    assert_eq!(samples["ripcord_http_request_duration_seconds_bucket{route=\"/slow\",le=\"8.192\"}"], 1.0);
}

#[tokio::test]
async fn scraper_without_open_metrics_in_accept_gets_prometheus_text() {
    let service = TestService::new(&[]);
    service.get("/nosuch").await.expect("no panic");
    let metrics = service.get("/metrics").await.expect("no panic");
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# TYPE ripcord_http_requests_total counter",
        "ripcord_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "# TYPE ripcord_http_request_duration_seconds histogram",
    ] {
        assert!(metrics.body.lines().any(|other| other == line), "no {line} in {}", metrics.body);
    }
    assert!(!metrics.body.contains("# EOF") && !metrics.body.contains("# UNIT"), "{}", metrics.body);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn metrics_contain_the_standard_process_metrics() {
    let service = TestService::new(&[]);
    let metrics = service.get("/metrics").await.expect("no panic").body;
    for (name, kind) in [
        ("process_cpu_seconds_total", "counter"),
        ("process_open_fds", "gauge"),
        ("process_max_fds", "gauge"),
        ("process_virtual_memory_bytes", "gauge"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_threads", "gauge"),
        ("process_start_time_seconds", "gauge"),
    ] {
        let kind = format!("# TYPE {name} {kind}");
        assert!(metrics.lines().any(|line| line == kind), "no {kind} in {metrics}");
        let sample = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value: f64 = sample.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number");
        assert!(value >= 0.0, "{name} {value}");
    }
}
