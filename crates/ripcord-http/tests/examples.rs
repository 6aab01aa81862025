//! Every example, run as built, prints what `expected/NAME.txt` says; ports and ids are masked.
//!
//! `cargo test` builds the examples before this; `cargo test --test examples` alone does not, and then runs those of the last time.

use std::collections::BTreeSet;
use std::path::Path;
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

/// What an example prints, if it ends well.
fn output(name: &str) -> String {
    // Beside the directory of this very test: `target/debug/deps/examples-0123`, `target/debug/examples`.
    let test = env::current_exe().expect("a running program has a path");
    let examples = test.ancestors().nth(2).expect("it lies in target/PROFILE/deps").join("examples");
    let program = examples.join(name).with_extension(env::consts::EXE_EXTENSION);
    let output = Command::new(&program).stdin(Stdio::null()).output().unwrap_or_else(|error| {
        panic!("{error}: {}, which `cargo build --examples` makes", program.display());
    });
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(output.status.success(), "{} after\n{text}", output.status);
    mask_ids(&mask_ports(&text))
}

/// Puts `<port>` for the number of every port of the loopback.
fn mask_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "127.0.0.1:<port>" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Puts `<id>` for every request's id, which is 32 digits of hex.
fn mask_ids(text: &str) -> String {
    let is_hex = |c: char| c.is_ascii_hexdigit();
    let words = text.split_inclusive(|c| !is_hex(c)).map(|word| {
        let rest = word.trim_start_matches(is_hex);
        if word.len() - rest.len() == 32 { format!("<id>{rest}") } else { word.to_owned() }
    });
    words.collect()
}

/// The names of the files in `dir` with that extension, without it.
fn names(dir: &Path, extension: &str) -> BTreeSet<String> {
    let paths = fs::read_dir(dir).expect("it is there").map(|entry| entry.expect("it can be read").path());
    let wanted = paths.filter(|path| path.extension().is_some_and(|other| other == extension));
    wanted.map(|path| path.file_stem().expect("it has a name").to_string_lossy().into_owned()).collect()
}
