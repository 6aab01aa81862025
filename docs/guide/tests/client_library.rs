//! Tests that the chapter about client libraries shows the code that its tests use.

#[test]
fn chapter_contains_the_library_that_its_tests_include() {
    let (chapter, library) = (include_str!("../src/client_library.md"), include_str!("client_library/stock.rs"));
    assert!(chapter.contains(library));
}
