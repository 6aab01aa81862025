//! Runs every example of the crate and compares its output with `expected/NAME.txt`. Ports and IDs are masked.
//!
//! `cargo test --workspace` and `cargo test -p CRATE` build the examples first. `cargo test --test examples` does not, and fails if an
//! example was not built since its source changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

#[test]
fn examples_print_what_is_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = names(&root.join("examples"), "rs");
    assert!(!examples.is_empty());
    assert_eq!(names(&root.join("tests/expected"), "txt"), examples);
    for name in examples {
        let expected = fs::read_to_string(root.join("tests/expected").join(&name).with_extension("txt")).unwrap();
        assert_eq!(output(&name), expected, "{name}");
    }
}

/// Runs an example, which must succeed. Returns its output.
fn output(name: &str) -> String {
    let output = Command::new(program(name)).stdin(Stdio::null()).output().expect("the example runs");
    let text = String::from_utf8(output.stdout).expect("the output is text");
    let errors = String::from_utf8(output.stderr).expect("the errors are text");
    assert!(output.status.success(), "{name}: {} after\n{text}{errors}", output.status);
    // An end is always reported with a line of the example, never with a line of the libraries.
    for library in ["ripcord", "ripcord-grpc", "ripcord-http", "ripcord-policy", "ripcord-process"] {
        let library = format!("{library}/src/");
        assert!(!text.contains(&library) && !errors.contains(&library), "{name}: {library} in\n{text}{errors}");
    }
    mask_ids(&mask_ports(&text))
}

/// Returns the path of an example. The example must have been built since its source changed.
fn program(name: &str) -> PathBuf {
    // This test is `target/debug/deps/examples-0123`, and the examples are in `target/debug/examples`.
    let test = env::current_exe().expect("a running program has a path");
    let examples = test.ancestors().nth(2).expect("the test is in target/PROFILE/deps").join("examples");
    let program = examples.join(name).with_extension(env::consts::EXE_EXTENSION);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs");
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    assert!(
        changed(&program) >= changed(&source),
        "{} is missing or older than its source: run `cargo build -p {} --examples` first",
        program.display(),
        env!("CARGO_PKG_NAME"),
    );
    program
}

/// Replaces the number of every loopback port with `<port>`.
fn mask_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "127.0.0.1:<port>" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Replaces every request ID (32 hex digits) with `<id>`.
fn mask_ids(text: &str) -> String {
    let is_hex = |c: char| c.is_ascii_hexdigit();
    let words = text.split_inclusive(|c| !is_hex(c)).map(|word| {
        let rest = word.trim_start_matches(is_hex);
        if word.len() - rest.len() == 32 { format!("<id>{rest}") } else { word.to_owned() }
    });
    words.collect()
}

/// Returns the names, without the extension, of the files in `dir` with this extension.
fn names(dir: &Path, extension: &str) -> BTreeSet<String> {
    let paths =
        fs::read_dir(dir).expect("the directory exists").map(|entry| entry.expect("the entry can be read").path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|other| other == extension));
    wanted.map(|path| path.file_stem().expect("the file has a name").to_string_lossy().into_owned()).collect()
}
