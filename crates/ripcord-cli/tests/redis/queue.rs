//! `ripcord queue`.

use std::process::{Command, Output};
use std::time::Duration;

use ripcord::{Context, block_on};
use ripcord_redis::{JobId, Queue};
use serde_json::Value;

use crate::server::{Server, client, free_port};

/// Runs `ripcord queue` for the queue `emails`.
fn queue(server: &Server, action: &[&str]) -> Output {
    let url = server.url();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
    command.arg("queue").args(action).args(["--redis", &url, "--queue", "emails"]);
    command.output().expect("the binary")
}

/// Runs a command that succeeds, and returns its output.
#[track_caller]
fn text(server: &Server, action: &[&str]) -> String {
    let output = queue(server, action);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn json(server: &Server, action: &[&str]) -> Value {
    let action: Vec<&str> = action.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&text(server, &action)).expect("JSON")
}

/// Runs a command that fails with one line, and returns its exit code and the line.
#[track_caller]
fn error(output: &Output) -> (i32, String) {
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    (output.status.code().expect("a code"), text.trim_end().to_owned())
}

/// Starts a server with three jobs: one that waits, one that is delayed, and a dead letter.
fn setup() -> (Server, Queue<String>, Vec<JobId>) {
    let server = Server::start();
    let client = client(&server);
    let queue = Queue::<String>::builder("emails").client(&client).build().expect("valid settings");
    let ctx = Context::background();
    let dead = block_on(queue.job("dead".to_owned()).timeout(Duration::ZERO).submit(&ctx)).expect("a server");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (working, cancel) = ctx.with_cancel();
        let worker = tokio::spawn(queue.work(&working, |_, _| async { Ok::<_, std::io::Error>(()) }));
        while queue.stats(&ctx).await.expect("a server").dead == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
        assert!(worker.await.expect("no panic").is_err());
    });
    let waiting = block_on(queue.submit(&ctx, "a\u{1b}".to_owned())).expect("a server");
    let delayed = block_on(queue.job("b".to_owned()).delay(Duration::from_secs(900)).submit(&ctx)).expect("a server");
    (server, queue, vec![waiting, delayed, dead])
}

pub(crate) fn queue_lists_jobs_and_dead_letters_as_text_and_as_json() {
    let (server, _queue, ids) = setup();
    let listed = text(&server, &["list"]);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert!(
        lines[0].starts_with(&format!("{} waiting age ", ids[0])) && lines[0].ends_with(r#": "a\u001b""#),
        "{listed}"
    );
    assert!(lines[1].starts_with(&format!("{} delayed age ", ids[1])), "{listed}");
    assert_eq!(text(&server, &["list", "--limit", "1"]).lines().count(), 1);
    let listed = json(&server, &["list"]);
    assert_eq!((&listed[0]["id"], &listed[0]["job"]), (&Value::from(ids[0].to_string()), &Value::from("a\u{1b}")));
    assert_eq!(listed[1]["remaining_seconds"], Value::Null);
    let dead = text(&server, &["dead"]);
    assert!(dead.starts_with(&format!("{} deadline ", ids[2])), "{dead}");
    assert!(dead.ends_with("\"dead\" (the deadline has passed before the job started)\n"), "{dead}");
    assert_eq!(json(&server, &["dead"])[0]["reason"], "deadline");
}

pub(crate) fn queue_resends_deletes_and_cancels() {
    let (server, _queue, ids) = setup();
    let [waiting, delayed, dead] = [ids[0].to_string(), ids[1].to_string(), ids[2].to_string()];
    let (code, line) = error(&queue(&server, &["cancel", &dead]));
    assert_eq!((code, line), (1, format!("ripcord: {dead} is a dead letter: use `ripcord queue delete`")));
    assert_eq!(text(&server, &["resend", &dead]), "resent 1\n");
    let (code, line) = error(&queue(&server, &["delete", &dead]));
    assert_eq!((code, &*line), (1, "ripcord: 1 ID is not the ID of a dead letter"));
    assert_eq!(text(&server, &["cancel", &dead]), format!("{dead} is removed: it was not running\n"));
    let canceled = json(&server, &["cancel", &delayed, "--cause", "withdrawn"]);
    assert_eq!(canceled["outcome"], "removed");
    let (code, line) = error(&queue(&server, &["cancel", &delayed]));
    assert_eq!((code, line), (1, format!("ripcord: there is no job {delayed}: it is over, or the ID is wrong")));
    let stats = json(&server, &["stats"]);
    assert_eq!((&stats["waiting"], &stats["canceled"], &stats["resent"]), (&1.into(), &2.into(), &1.into()));
    assert!(text(&server, &["stats"]).starts_with("waiting      1\nrunning      0\n"));
    assert_eq!(json(&server, &["delete", "--all"])["deleted"], 0);
    assert_eq!(json(&server, &["resend", "--all"])["resent"], 0);
    assert!(text(&server, &["list"]).starts_with(&waiting));
}

pub(crate) fn queue_names_invalid_settings_and_an_unavailable_server_on_one_line() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
        error(&command.arg("queue").args(arguments).output().expect("the binary"))
    };
    let (code, line) = run(&["stats", "--redis", "redis://shop:hunter2@[", "--queue", "emails"]);
    assert!(code == 2 && line.contains("url must be a valid URL") && !line.contains("hunter2"), "{line}");
    let (code, line) = run(&["stats", "--redis", "redis://127.0.0.1", "--queue", "a{"]);
    assert!(code == 2 && line.contains("name must be"), "{line}");
    let (code, line) = run(&["stats", "--queue", "emails"]);
    assert!(code == 2 && line.contains("--redis"), "{line}");
    let (code, line) = run(&["cancel", "17", "--redis", "redis://127.0.0.1", "--queue", "emails"]);
    assert!(code == 2 && line.contains("32 lowercase hex digits"), "{line}");
    let (code, _) = run(&["resend", "--redis", "redis://127.0.0.1", "--queue", "emails"]);
    assert_eq!(code, 2, "neither IDs nor --all");
    let url = format!("redis://127.0.0.1:{}", free_port());
    let (code, line) = run(&["stats", "--redis", &url, "--queue", "emails"]);
    assert!(code == 1 && line.starts_with("ripcord: stats: Redis is unavailable"), "{line}");
}
