//! The metrics of the feature `metrics`, as an exporter sees them.
#![cfg(target_os = "linux")]

mod common;
#[path = "common/exporter.rs"]
mod exporter;

use std::process::Stdio;
use std::time::Duration;

use common::{bounded, sh};
use exporter::{assert_described, assert_has};
use ripcord::{Clock, Context};
use ripcord_process::{Command, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const SECOND: Duration = Duration::from_secs(1);

/// Returns the text that an exporter shows after `run`, whose commands run on this thread's runtime.
fn rendered<F: Future<Output = ()>>(run: F) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    exporter::rendered(|| {
        ripcord_process::describe_metrics();
        runtime.block_on(run);
    })
}

#[test]
fn command_that_its_deadline_ends_records_the_time_left_and_the_overrun() {
    let text = rendered(async {
        let (clock, time) = Clock::manual();
        let ctx = Context::background().with_clock(clock).with_timeout(5 * SECOND);
        let mut child = sh("echo ready; exec sleep 60").stdout(Stdio::piped()).spawn(&ctx).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(bounded(lines.next_line()).await.unwrap().as_deref(), Some("ready"));
        time.advance(7 * SECOND);
        assert!(bounded(child.wait()).await.unwrap_err().is_deadline_exceeded());
    });
    assert_has(
        &text,
        &[
            r#"ripcord_process_commands_total{program="sh",result="deadline_exceeded"} 1"#,
            r#"ripcord_process_command_time_left_seconds_sum{program="sh"} 5"#,
            r#"ripcord_process_command_duration_seconds_sum{program="sh"} 7"#,
            r#"ripcord_process_command_overrun_seconds_sum{program="sh"} 2"#,
        ],
    );
    assert!(!text.contains("ripcord_process_commands_killed_total{"), "{text}");
}

#[test]
fn each_result_of_a_command_is_counted_and_each_metric_described() {
    let text = rendered(async {
        let ctx = Context::background();
        assert!(bounded(Command::new("/bin/true").status(&ctx)).await.unwrap().success());
        assert!(!bounded(sh("sleep 60 & exit 3").status(&ctx)).await.unwrap().success());
        assert!(bounded(Command::new("no-such-program").status(&ctx)).await.unwrap_err().is_not_started());

        let (ended, cancel) = ctx.with_timeout(60 * SECOND).with_cancel();
        let mut child = sh("trap '' TERM; echo ready; while :; do sleep 1; done")
            .grace(Duration::ZERO)
            .stdout(Stdio::piped())
            .spawn(&ended)
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(bounded(lines.next_line()).await.unwrap().as_deref(), Some("ready"));
        cancel.cancel();
        assert!(bounded(child.wait()).await.unwrap_err().is_canceled());
        assert!(Command::new("true").spawn(&ended).unwrap_err().is_not_started());

        // A signal from the caller does not count as an end of the context.
        let mut child = Command::new("sleep").arg("60").spawn(&ctx).unwrap();
        assert!(child.handle().end(Signal::TERM).unwrap());
        assert!(!bounded(child.wait()).await.unwrap().success());
    });
    assert_has(
        &text,
        &[
            r#"ripcord_process_commands_total{program="true",result="success"} 1"#,
            r#"ripcord_process_commands_total{program="true",result="not_started"} 1"#,
            r#"ripcord_process_commands_total{program="no-such-program",result="not_started"} 1"#,
            r#"ripcord_process_commands_total{program="sh",result="failure"} 1"#,
            r#"ripcord_process_commands_total{program="sh",result="canceled"} 1"#,
            r#"ripcord_process_commands_total{program="sleep",result="failure"} 1"#,
            r#"ripcord_process_left_behind_total{program="sh"} 1"#,
            r#"ripcord_process_commands_killed_total{program="sh"} 1"#,
            r#"ripcord_process_command_overrun_seconds_count{program="sh"} 1"#,
        ],
    );
    assert_described(&text, "ripcord_process_", 6);
}
