//! Runs the examples of the crate. Their output and the log of the service contain no source line.
//!
//! `cargo test -p ripcord-cli` builds the examples first. `cargo test --test examples` does not, and fails if an example was not built
//! since its source changed.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with tests that need more of it")]
mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use common::Server;

#[test]
fn output_of_every_example_contains_no_source_line() {
    let tests = BTreeMap::from([("slow", slow as fn()), ("soak", soak)]);
    let mut examples: Vec<_> = fs::read_dir(examples())
        .expect("the directory exists")
        .map(|entry| entry.expect("the entry can be read").path())
        .map(|path| path.file_stem().expect("the file has a name").to_string_lossy().into_owned())
        .collect();
    examples.sort();
    assert!(tests.keys().eq(&examples), "the tests are {:?}, the examples are {examples:?}", tests.keys());
    for test in tests.values() {
        test();
    }
}

/// Tests the example `slow`, and the log of its service.
fn slow() {
    let mut server = Server::start(&["--timeout", "500ms"]);
    let text = output("slow", &[&server.address]);
    assert!(text.starts_with("500 times 504 \"Request timed out\"\n"), "{text}");
    server.terminate();
    let (code, log) = server.wait();
    let log = log.join("\n");
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("Request canceled").count(), 500, "{log}");
    assert_no_source_line("the log", &log);
}

fn soak() {
    let text = output("soak", &["640"]);
    assert!(text.contains("answered 512, timed out 64, abandoned 64\nleft: 0 in flight, 0 Contexts held\n"), "{text}");
    assert!(text.ends_with("the server's counts match\n"), "{text}");
}

/// Runs an example, which must succeed. Returns its output.
fn output(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(program(name)).args(arguments).stdin(Stdio::null()).output().expect("the example runs");
    let text = String::from_utf8(output.stdout).expect("the output is text");
    let errors = String::from_utf8(output.stderr).expect("the errors are text");
    assert!(output.status.success(), "{name}: {} after\n{text}{errors}", output.status);
    assert_no_source_line(name, &text);
    assert_no_source_line(name, &errors);
    text
}

#[track_caller]
fn assert_no_source_line(origin: &str, text: &str) {
    assert!(!text.contains(".rs:"), "{origin} contains a source line:\n{text}");
}

/// Returns the path of an example. The example must have been built since its source changed.
fn program(name: &str) -> PathBuf {
    // This test is `target/debug/deps/examples-0123`, and the examples are in `target/debug/examples`.
    let test = env::current_exe().expect("a running program has a path");
    let program = test.ancestors().nth(2).expect("the test is in target/PROFILE/deps").join("examples").join(name);
    let source = examples().join(name);
    let sources = match fs::read_dir(&source) {
        Ok(entries) => entries.map(|entry| entry.expect("the entry can be read").path()).collect(),
        Err(_) => vec![source.with_extension("rs")],
    };
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let newest = sources.iter().filter_map(|path| changed(path)).max();
    assert!(
        changed(&program) >= newest,
        "{} is missing or older than its source: run `cargo build -p ripcord-cli --examples` first",
        program.display(),
    );
    program
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}
