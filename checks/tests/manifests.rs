//! The fields that a registry shows. `scripts/package` checks the files of each package.

use ripcord_checks::{Package, libraries};

#[test]
fn each_library_has_the_fields_that_a_registry_shows() {
    let libraries = libraries();
    assert!(!libraries.is_empty());
    for Package { name, metadata, .. } in libraries {
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        let count = |field: &str| metadata[field].as_array().map_or(0, Vec::len);
        assert!(!text("description").is_empty(), "{name} has no description");
        assert_eq!(text("license"), "MIT OR Apache-2.0", "license of {name}");
        assert_eq!(text("readme"), "README.md", "readme of {name}");
        assert!(!text("rust_version").is_empty(), "{name} has no rust-version");
        // The registry accepts at most five.
        assert!((1..=5).contains(&count("keywords")), "{name} has {} keywords", count("keywords"));
        assert!((1..=5).contains(&count("categories")), "{name} has {} categories", count("categories"));
        assert_eq!(metadata["metadata"]["docs"]["rs"]["all-features"], true, "docs.rs would not show all of {name}");
    }
}
