//! Compares `docs/dependencies.md` with the manifests and the lock file.
//!
//! `UPDATE_DEPENDENCIES=1 cargo test --package ripcord-checks --test dependencies` rewrites the lists of crates. Write the rows of
//! the tables by hand: they contain the purpose of each dependency.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use ripcord_checks::{Package, cargo, libraries, packages, root};

/// Crates that take long to build, or that contain a framework. A library builds one only for its own direct dependency.
const HEAVY: [&str; 7] = ["axum", "opentelemetry", "redis", "reqwest", "rusqlite", "tokio-postgres", "tonic"];

/// The heading of the dependencies that only tests need.
const TESTS: &str = "Tests and examples";

fn document() -> PathBuf {
    root().join("docs/dependencies.md")
}

/// Returns the text below each heading of the second level, by heading.
fn sections(text: &str) -> BTreeMap<&str, &str> {
    text.split("\n## ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

/// Returns the second column of each row of a table by the name in the first column. The third column is the purpose.
fn rows(section: &str) -> BTreeMap<&str, &str> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    let cells = cells.map(|(name, rest)| {
        let (second, purpose) = rest.split_once(" | ").unwrap_or_else(|| panic!("{name} has no third column"));
        assert!(!purpose.trim().is_empty(), "{name} has no purpose");
        (name, second)
    });
    cells.collect()
}

#[test]
fn each_direct_dependency_has_a_purpose() {
    let text = fs::read_to_string(document()).expect("the document exists");
    let sections = sections(&text);
    for package in packages().iter().filter(|package| !package.normal_dependencies().is_empty()) {
        let section = sections.get(package.name.as_str()).unwrap_or_else(|| panic!("no section {}", package.name));
        let expected: BTreeMap<_, _> =
            package.normal_dependencies().into_iter().map(|name| (name, features_with(package, name))).collect();
        let listed: BTreeMap<_, _> = rows(section).into_iter().map(|(name, when)| (name, when.to_owned())).collect();
        assert_eq!(listed, expected, "dependencies of {}", package.name);
    }
}

/// Returns when a dependency is built, in the words of the document.
fn features_with(package: &Package, dependency: &str) -> String {
    if package.builds(dependency, None) {
        return "always".to_owned();
    }
    let features: Vec<_> = package.features_with(dependency).into_iter().map(|name| format!("`{name}`")).collect();
    features.join(", ")
}

#[test]
fn each_dependency_of_tests_has_a_purpose() {
    let text = fs::read_to_string(document()).expect("the document exists");
    let packages = packages();
    let normal: BTreeSet<_> = packages.iter().flat_map(Package::normal_dependencies).collect();
    let all = packages.iter().flat_map(|package| &package.dependencies).filter(|other| other.is_dev);
    let expected: BTreeSet<_> = all
        .map(|other| other.name.as_str())
        .filter(|name| !normal.contains(name) && !name.starts_with("ripcord"))
        .collect();
    let listed: BTreeSet<_> = rows(sections(&text)[TESTS]).into_keys().collect();
    assert_eq!(listed, expected, "dependencies under \"{TESTS}\"");
}

/// Returns the names of the crates that a user builds for a library with one feature, or without any.
fn tree(package: &str, feature: Option<&str>) -> Vec<String> {
    let feature = feature.unwrap_or_default();
    // One system, so that the lists are the same everywhere.
    let target = ["--target", "x86_64-unknown-linux-gnu"];
    let choice = ["--locked", "--package", package, "--no-default-features", "--features", feature];
    let shape = ["--edges", "normal,build", "--prefix", "none", "--format", "{p}"];
    let output = cargo(&[&["tree"], &target[..], &choice, &shape].concat());
    // A line is `name v1.2.3`, `name v1.2.3 (proc-macro)` or `name v1.2.3 (/folder)`. `(*)` marks a repetition.
    let crates: BTreeSet<_> = output.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let names = crates.into_iter().filter_map(|line| line.split(' ').next());
    names.filter(|name| *name != package).map(str::to_owned).collect()
}

/// Returns the list of the crates that each feature of a library needs.
fn list_of_crates(package: &Package) -> String {
    let base = tree(&package.name, None);
    let mut text = match &base[..] {
        [] => "- Without features: no crate.\n".to_owned(),
        _ => format!("- Without features, {}: {}.\n", count(base.len()), base.join(", ")),
    };
    for feature in package.features.keys() {
        let mut added = tree(&package.name, Some(feature));
        // A name occurs twice if two versions are built, so this is no set.
        for name in &base {
            if let Some(index) = added.iter().position(|other| other == name) {
                added.remove(index);
            }
        }
        text += &match &added[..] {
            [] => format!("- `{feature}` adds no crate.\n"),
            _ => format!("- `{feature}` adds {}: {}.\n", count(added.len()), added.join(", ")),
        };
    }
    text
}

fn count(crates: usize) -> String {
    if crates == 1 { "1 crate".to_owned() } else { format!("{crates} crates") }
}

#[test]
fn lists_of_crates_are_those_of_the_lock_file() {
    const BEGIN: &str = "<!-- crates -->\n";
    const END: &str = "<!-- end -->\n";
    let mut text = fs::read_to_string(document()).expect("the document exists");
    let written = text.clone();
    for package in libraries() {
        let heading = text.find(&format!("\n## {}\n", package.name)).expect("each library has a section");
        let begin = heading + text[heading..].find(BEGIN).expect("each section has a list of crates") + BEGIN.len();
        let end = begin + text[begin..].find(END).expect("each list of crates has an end");
        text.replace_range(begin..end, &list_of_crates(&package));
    }
    if std::env::var_os("UPDATE_DEPENDENCIES").is_some() {
        fs::write(document(), text).expect("the document can be written");
        return;
    }
    // A line is as long as a tree, so only the first differing line is shown.
    let differs = text.lines().zip(written.lines()).find(|(expected, line)| expected != line);
    assert!(
        text == written,
        "docs/dependencies.md differs from the lock file; UPDATE_DEPENDENCIES=1 rewrites it: {differs:?}"
    );
}

#[test]
fn heavy_crates_are_built_only_for_a_feature_that_names_them() {
    let text = fs::read_to_string(document()).expect("the document exists");
    let sections = sections(&text);
    for package in libraries() {
        // The test above shows that these lists are what cargo builds.
        for (feature, crates) in listed_crates(sections[package.name.as_str()]) {
            for heavy in HEAVY {
                // The list of a feature contains only what it adds.
                let expected = package.builds(heavy, feature) && (feature.is_none() || !package.builds(heavy, None));
                assert_eq!(crates.contains(heavy), expected, "{heavy} in {} with {feature:?}", package.name);
            }
        }
    }
}

/// Returns the names in the lists of a section: those without features, and those that each feature adds.
fn listed_crates(section: &str) -> BTreeMap<Option<&str>, BTreeSet<&str>> {
    let lists = section.lines().filter_map(|line| line.strip_prefix("- ")?.strip_suffix('.')?.split_once(": "));
    let lists = lists.map(|(head, names)| {
        let feature = head.strip_prefix('`').and_then(|head| head.split('`').next());
        (feature, names.split(", ").collect())
    });
    lists.collect()
}
