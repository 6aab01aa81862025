//! The list of features on the front page of each library.

use std::collections::BTreeMap;
use std::fs;

use ripcord_checks::{Package, libraries};

#[test]
fn each_feature_is_described_with_its_cost() {
    for Package { name, folder, features, .. } in libraries() {
        let page = fs::read_to_string(folder.join("src/lib.rs")).expect("the library has a front page");
        let described = described(&page);
        let expected: Vec<_> = features.keys().collect();
        assert_eq!(described.keys().collect::<Vec<_>>(), expected, "features on the front page of {name}");
        for (feature, text) in described {
            let (purpose, cost) = text.split_once(" Cost: ").unwrap_or_else(|| panic!("{name}: no cost of {feature}"));
            assert!(!purpose.is_empty(), "{name}: no purpose of {feature}");
            for dependency in features[&feature].iter().filter_map(|entry| entry.strip_prefix("dep:")) {
                assert!(cost.contains(&format!("`{dependency}`")), "{name}: the cost of {feature} lacks {dependency}");
            }
        }
    }
}

/// Returns the text of each item in the list below the heading "Features", by the name of the feature.
fn described(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim);
    let section = lines.skip_while(|line| *line != "# Features").skip(1).take_while(|line| !line.starts_with("# "));
    let section: Vec<_> = section.collect();
    let items = section.join(" ");
    let items = items.split("- `").skip(1).filter_map(|item| item.split_once('`'));
    items.map(|(feature, text)| (feature.to_owned(), text.trim().to_owned())).collect()
}

#[test]
fn items_of_the_list_are_found() {
    let page = "//! # Features\n//!\n//! - `one` adds\n//!   a. Cost: b.\n//! - `two` adds c.\n//!\n//! # More\n//!\n//! - `three`";
    let expected = [("one", "adds a. Cost: b."), ("two", "adds c.")];
    let expected = expected.map(|(feature, text)| (feature.to_owned(), text.to_owned()));
    assert_eq!(described(page), BTreeMap::from(expected));
}
