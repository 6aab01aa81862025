//! What must not compile, and what the compiler says then.
//!
//! The `.stderr` files beside the cases are the words of one compiler, [`WORDS_OF`]. After a change on purpose, or with a new
//! compiler, write them anew with `TRYBUILD=overwrite cargo test -p ripcord --test compile_fail`, read the difference, and set
//! the version. That the most important of them does not compile is a `compile_fail` example of `Value` too, which every
//! compiler checks.

use std::process::Command;

/// The compiler whose words the `.stderr` files hold.
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
    // The same cases twice: the compiler also names the trait `Value` of tracing where that is there.
    cases.compile_fail(if cfg!(feature = "tracing") {
        "tests/compile_fail/with_tracing/*.rs"
    } else {
        "tests/compile_fail/without_tracing/*.rs"
    });
}
