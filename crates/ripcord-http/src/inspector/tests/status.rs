//! Tests the states that a program shows.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ripcord::Context;
use serde_json::json;

use super::super::Inspector;
use super::json;

#[test]
fn status_is_read_for_each_snapshot() {
    let inspector = Inspector::new();
    assert_eq!(json(&inspector)["statuses"], json!([]));
    let (reads, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&reads);
    inspector.show_status("limiter", move || count.fetch_add(1, Ordering::Relaxed));
    inspector.show_status("queue", || "3 jobs");
    assert_eq!(json(&inspector)["statuses"][0], json!({ "name": "limiter", "text": "0" }));
    let shown = json!([{ "name": "limiter", "text": "1" }, { "name": "queue", "text": "3 jobs" }]);
    assert_eq!(json(&inspector)["statuses"], shown);
    let count = Arc::clone(&counted);
    inspector.show_status("limiter", move || format!("{} reads", count.fetch_add(1, Ordering::Relaxed)));
    assert_eq!(json(&inspector)["statuses"][0]["text"], "0 reads");
    assert_eq!((Arc::strong_count(&reads), reads.load(Ordering::Relaxed)), (1, 2), "the first function is gone");
}

#[test]
fn function_that_panics_or_writes_much_harms_no_other_status() {
    struct Bad;
    impl fmt::Display for Bad {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("in Display")
        }
    }
    let inspector = Inspector::new();
    inspector.show_status("display", || Bad);
    inspector.show_status("function", || -> &'static str { panic!("in the function") });
    inspector.show_status("long", || "\n".repeat(1000));
    inspector.show_status("good", || "connected");
    let statuses = json(&inspector)["statuses"].clone();
    assert_eq!(statuses[0]["text"], "(its Display panicked)");
    assert_eq!(statuses[1]["text"], "(its Display panicked)");
    assert!(statuses[2]["text"].as_str().is_some_and(|text| text.starts_with("\\u{a}") && text.len() < 3000));
    assert_eq!(statuses[3]["text"], "connected");
}

#[test]
fn function_may_use_the_inspector() {
    let inspector = Inspector::new();
    let used = inspector.clone();
    inspector.show_status("first", move || {
        used.show_status("second", || "added by the first");
        drop(used.watch(&Context::background()));
        "ok"
    });
    json(&inspector);
    assert_eq!(json(&inspector)["statuses"][1]["text"], "added by the first");
}
