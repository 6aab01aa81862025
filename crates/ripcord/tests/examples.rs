//! Runs every built example and compares its output with `expected/NAME.txt`.
//!
//! Clock readings are masked. Lines that have no fixed order are sorted. The file `expected/NAME.args`, if it exists, contains
//! the arguments of the example. `cargo test` builds the examples before this test. `cargo test --test examples` alone does
//! not, and runs the examples of the previous build, if there are any.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

/// Maximum time that an example may run. The longest takes five seconds.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn examples_print_what_is_expected() {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected");
    // All examples are started before the test waits for the first, because they sleep most of the time.
    let start = |name: String| {
        let arguments = fs::read_to_string(expected.join(&name).with_extension("args")).unwrap_or_default();
        (Running::start(&name, &arguments), name)
    };
    let running: Vec<_> = names(&expected, "txt").into_iter().map(start).collect();

    for (example, name) in running {
        let expected = fs::read_to_string(expected.join(&name).with_extension("txt")).expect("it is text");
        let (actual, errors) = example.output();
        let actual = with_repository_paths(&actual);
        // Every reported end names a line of the example, and no line of the libraries.
        for text in [&actual, &errors] {
            assert!(!text.contains("/src/"), "{name} names a source file of a library:\n{text}");
        }
        assert_eq!(comparable(&actual), comparable(&expected), "{name} printed\n{actual}");
    }
}

#[test]
fn every_example_is_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(names(&root.join("tests/expected"), "txt"), names(&root.join("examples"), "rs"));
}

#[test]
fn only_clock_readings_are_masked() {
    for (line, masked) in [
        ("Background.WithDeadline(4.99s left)", "Background.WithDeadline(<time> left)"),
        ("set to 3.000068284s after (in -1.2ms)", "set to <time> after (in <time>)"),
        ("1m30s 12µs 7ns", "<time> <time> <time>"),
        ("canceled just now, set 18ms ago", "canceled <time> ago, set <time> ago"),
        ("req-123 Worker 1: v2s Case 3: 4 seconds, 5sec", "req-123 Worker 1: v2s Case 3: 4 seconds, 5sec"),
    ] {
        assert_eq!(mask(line), masked);
    }
}

/// A running example. Killed when dropped.
struct Running {
    child: Child,
    output: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    fn start(name: &str, arguments: &str) -> Running {
        let path = examples_dir().join(name).with_extension(env::consts::EXE_EXTENSION);
        let mut child = Command::new(&path)
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}: {}, which `cargo build --examples` makes", path.display()));
        let output = text_of(child.stdout.take().expect("it is piped"));
        let errors = text_of(child.stderr.take().expect("it is piped"));
        Running { child, output, errors }
    }

    /// Waits for the end of the example and returns its output and its errors.
    fn output(mut self) -> (String, String) {
        let output = self.output.recv_timeout(PATIENCE).expect("the example ends");
        let errors = self.errors.recv_timeout(PATIENCE).expect("the example ends");
        let status = self.child.wait().expect("it is a child of ours");
        assert!(status.success(), "{status} after\n{output}{errors}");
        (output, errors)
    }
}

/// Reads a pipe to its end on another thread.
fn text_of(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).expect("it is text");
        // The receiver is dropped if the test has failed.
        let _ = sender.send(text);
    });
    receiver
}

impl Drop for Running {
    fn drop(&mut self) {
        // An example that has already ended returns an error here, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the text with the paths of example sources relative to the repository. In an unpacked package, they are shorter.
fn with_repository_paths(text: &str) -> String {
    let package = file!().trim_end_matches("tests/examples.rs");
    text.replace(&format!("{package}examples/"), concat!("crates/", env!("CARGO_PKG_NAME"), "/examples/"))
}

/// Returns the directory of the examples, relative to this test: `target/debug/deps/examples-0123`, `target/debug/examples`.
fn examples_dir() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    test.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join("examples")
}

/// Returns the names of the files in `dir` with that extension, without the extension.
fn names(dir: &Path, extension: &str) -> BTreeSet<String> {
    fs::read_dir(dir)
        .expect("it is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .map(|path| path.file_stem().expect("it has a name").to_string_lossy().into_owned())
        .collect()
}

/// Returns the masked lines. Each run of lines without a fixed order is sorted.
fn comparable(output: &str) -> Vec<String> {
    let mut lines: Vec<_> = output.lines().map(|line| mask(line.trim_end())).collect();
    for run in lines.chunk_by_mut(|a, b| is_unordered(a) && is_unordered(b)) {
        run.sort();
    }
    lines
}

/// Returns whether a line has no fixed order: lines of concurrent workers, and entries that leave a cache at once.
fn is_unordered(line: &str) -> bool {
    line.starts_with("Worker ") || line.contains(" left the cache: ")
}

/// Replaces each text in the format of a `Duration` with `<time>`: `4.99s`, `-1.2ms`, `1m30s`. A time below a millisecond is printed as
/// `just now`, which is replaced too.
fn mask(line: &str) -> String {
    let mut masked = String::new();
    let line = line.replace("just now", "0s ago");
    let mut rest = line.as_str();
    while let Some(next) = rest.chars().next() {
        let in_word = masked.ends_with(|last: char| last.is_alphanumeric() || last == '-');
        let unsigned = rest.strip_prefix('-').unwrap_or(rest);
        match duration(unsigned) {
            Some(after) if !in_word => {
                masked.push_str("<time>");
                rest = after;
            }
            _ => {
                masked.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    masked
}

/// Returns the rest after the duration at the start of `text`, if `text` starts with a duration.
fn duration(text: &str) -> Option<&str> {
    let after_number = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if after_number.len() == text.len() || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    ["ns", "µs", "ms", "h", "m", "s"].iter().find_map(|unit| {
        let after = after_number.strip_prefix(unit)?;
        if after.starts_with(char::is_alphabetic) {
            return None;
        }
        Some(duration(after).unwrap_or(after)).filter(|after| !after.starts_with(char::is_alphanumeric))
    })
}
