//! The packages of this workspace, as `cargo metadata` describes them.
//!
//! The tests of this crate compare the manifests with the documents that describe them. None of this is published.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A package of this workspace.
#[derive(Debug)]
pub struct Package {
    /// The name in the manifest.
    pub name: String,
    /// The folder of the manifest.
    pub folder: PathBuf,
    /// Whether the package may be published.
    pub is_published: bool,
    /// The features, without `default`. A feature has a list of the features and dependencies that it turns on.
    pub features: BTreeMap<String, Vec<String>>,
    /// The dependencies of each kind and for each system.
    pub dependencies: Vec<Dependency>,
    /// The description of the package in the output of `cargo metadata`.
    pub metadata: Value,
}

/// A direct dependency of a package.
#[derive(Debug)]
pub struct Dependency {
    /// The name of the package that is needed.
    pub name: String,
    /// Whether only tests, benches and examples need it.
    pub is_dev: bool,
    /// Whether only a feature turns it on.
    pub is_optional: bool,
}

impl Package {
    /// Returns the names of the dependencies that a build for users may need.
    pub fn normal_dependencies(&self) -> BTreeSet<&str> {
        self.dependencies.iter().filter(|other| !other.is_dev).map(|other| other.name.as_str()).collect()
    }

    /// Returns the features that name an optional dependency.
    pub fn features_with(&self, dependency: &str) -> BTreeSet<&str> {
        let entry = format!("dep:{dependency}");
        let has_it = |list: &&Vec<String>| list.contains(&entry);
        self.features.iter().filter(|(_, list)| has_it(list)).map(|(name, _)| name.as_str()).collect()
    }

    /// Returns whether a direct dependency is built with the given feature, or without any feature.
    pub fn builds(&self, dependency: &str, feature: Option<&str>) -> bool {
        self.dependencies.iter().any(|other| other.name == dependency && !other.is_dev && !other.is_optional)
            || feature.is_some_and(|feature| self.turns_on(feature, dependency))
    }

    /// Returns whether a feature turns on an optional dependency, also through other features.
    fn turns_on(&self, feature: &str, dependency: &str) -> bool {
        self.features.get(feature).is_some_and(|list| {
            list.iter().any(|entry| match (entry.strip_prefix("dep:"), entry.split_once('/')) {
                (Some(other), _) => other == dependency,
                // `other?/feature` does not turn on `other`.
                (None, Some((other, _))) => other == dependency,
                (None, None) => self.turns_on(entry, dependency),
            })
        })
    }
}

/// Returns the root folder of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of this crate is in the root folder")
}

/// Returns the packages of the workspace, sorted by name.
///
/// # Panics
///
/// Panics if cargo cannot read a manifest.
pub fn packages() -> Vec<Package> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let mut packages: Vec<Package> = packages.iter().map(package).collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

/// Returns the packages that may be published, which are the libraries.
///
/// # Panics
///
/// Panics if cargo cannot read a manifest.
pub fn libraries() -> Vec<Package> {
    packages().into_iter().filter(|package| package.is_published).collect()
}

/// Returns the output of cargo in the root folder.
///
/// # Panics
///
/// Panics if cargo fails.
pub fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(arguments).current_dir(root()).output().expect("cargo is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

fn package(metadata: &Value) -> Package {
    let manifest = Path::new(text(&metadata["manifest_path"]));
    let features = metadata["features"].as_object().expect("a map of features").iter();
    let list =
        |entries: &Value| entries.as_array().expect("a list").iter().map(|entry| text(entry).to_owned()).collect();
    let dependencies = metadata["dependencies"].as_array().expect("a list of dependencies").iter();
    Package {
        name: text(&metadata["name"]).to_owned(),
        folder: manifest.parent().expect("a file is in a folder").to_owned(),
        // `null` allows every registry.
        is_published: metadata["publish"].is_null(),
        features: features
            .filter(|(name, _)| *name != "default")
            .map(|(name, entries)| (name.clone(), list(entries)))
            .collect(),
        dependencies: dependencies.map(dependency).collect(),
        metadata: metadata.clone(),
    }
}

fn dependency(metadata: &Value) -> Dependency {
    Dependency {
        name: text(&metadata["name"]).to_owned(),
        is_dev: metadata["kind"] == "dev",
        is_optional: metadata["optional"] == true,
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo writes this field as text")
}
