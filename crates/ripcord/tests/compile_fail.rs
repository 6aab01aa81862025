//! Code that must not compile, and the compiler's messages.
//!
//! The `.stderr` files beside the cases contain the messages of one compiler version, [`WORDS_OF`]. After an intended change,
//! or with a new compiler, rewrite them with `TRYBUILD=overwrite cargo test -p ripcord --test compile_fail`, review the diff,
//! and set the version. The most important case is also a `compile_fail` example of `Value`, which every compiler version
//! checks.

use std::process::Command;

/// The version of the compiler whose messages are in the `.stderr` files.
const WORDS_OF: &str = "rustc 1.95.";

#[test]
#[expect(clippy::print_stderr, reason = "a check that is left out is said aloud")]
fn misuse_does_not_compile() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().expect("rustc is there: it compiled this");
    let version = String::from_utf8_lossy(&output.stdout);
    if !version.starts_with(WORDS_OF) {
        eprintln!("NOT CHECKED: the .stderr files are {WORDS_OF}x's, this is {version}");
        return;
    }
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
    // Some cases exist twice, because the compiler also names the trait `Value` of tracing if that crate is a dependency.
    cases.compile_fail(if cfg!(feature = "tracing") {
        "tests/compile_fail/with_tracing/*.rs"
    } else {
        "tests/compile_fail/without_tracing/*.rs"
    });
}
