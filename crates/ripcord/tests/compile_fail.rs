//! What must not compile, and what the compiler says then.
//!
//! The `.stderr` files beside the cases are the compiler's words. After a change on purpose, or a new compiler, write them
//! anew with `TRYBUILD=overwrite cargo test -p ripcord --test compile_fail` and read the difference.

#[test]
fn what_must_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
