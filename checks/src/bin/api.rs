//! Lists the public API of each library from the JSON that rustdoc has written into the folder given as the argument.
//!
//! The lists are `docs/api/CRATE.txt`. The program compares them with the JSON and exits with status 1 if one differs. With
//! `UPDATE_API` in the environment, it writes them instead. It also compares the types of other crates in the lists with the tables
//! in `docs/api/foreign.md`, which say why each crate is there. `scripts/api` calls this program.
#![expect(clippy::print_stdout, reason = "printing is what this program does")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use ripcord_checks::{libraries, root};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let json = PathBuf::from(env::args_os().nth(1).ok_or("usage: api FOLDER")?);
    let lists = root().join("docs/api");
    let foreign = fs::read_to_string(lists.join("foreign.md"))?;
    let mut is_same = true;
    for package in libraries() {
        let list = api(&json.join(package.name.replace('-', "_")).with_extension("json"))?;
        let path = lists.join(&package.name).with_extension("txt");
        if env::var_os("UPDATE_API").is_some() {
            fs::write(&path, list.join("\n") + "\n")?;
        } else {
            is_same &= is_same_list(&path, &list);
        }
        is_same &= is_same_table(&foreign, &package.name, &foreign_types(&list));
    }
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the sorted public items. Blanket implementations and automatic traits are left out: tests check the latter.
fn api(json: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let api =
        public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).omit_auto_trait_impls(true).build()?;
    let items = api.items().map(ToString::to_string);
    // `pin-project-lite` implements `Unpin`, with a bound on a private type.
    let mut items: Vec<_> = items.filter(|item| !item.contains("pin_project_lite::")).collect();
    items.sort();
    items.dedup();
    Ok(items)
}

/// Returns whether the list is the one in the file. Prints the differences.
fn is_same_list(path: &Path, list: &[String]) -> bool {
    let written = fs::read_to_string(path).unwrap_or_default();
    let written: BTreeSet<_> = written.lines().collect();
    let list: BTreeSet<_> = list.iter().map(String::as_str).collect();
    for gone in written.difference(&list) {
        println!("{}: -{gone}", path.display());
    }
    for new in list.difference(&written) {
        println!("{}: +{new}", path.display());
    }
    written == list
}

/// Returns the items of other crates than ripcord and std that the list names, by crate.
fn foreign_types(list: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut types: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in
        list.iter().flat_map(|item| item.split(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter)))
    {
        let mut parts = path.split("::").filter(|part| !part.is_empty());
        let (Some(first), Some(second)) = (parts.next(), parts.next()) else { continue };
        let is_crate = first.starts_with(|letter: char| letter.is_ascii_lowercase()) && !first.starts_with("ripcord");
        if is_crate && !["alloc", "core", "std"].contains(&first) {
            // `http::header::map::HeaderMap` is `HeaderMap`, and so are its methods.
            let is_type = |part: &&str| part.starts_with(|letter: char| letter.is_uppercase());
            let name = [second].into_iter().chain(parts).find(is_type).unwrap_or(second);
            types.entry(first.to_owned()).or_default().insert(name.to_owned());
        }
    }
    types
}

/// Returns whether the table of a library has exactly these crates and types. Prints the rows that should be there.
fn is_same_table(document: &str, library: &str, types: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let section = document.split("\n## ").find(|section| section.lines().next() == Some(library)).unwrap_or_default();
    let row = |line: &str| Some(line.strip_prefix("| `")?.rsplit_once(" | ")?.0.to_owned());
    let written: BTreeSet<String> = section.lines().filter_map(row).collect();
    let types = types.iter().map(|(name, types)| {
        let types: Vec<_> = types.iter().map(|name| format!("`{name}`")).collect();
        format!("{name}` | {}", types.join(", "))
    });
    let expected: BTreeSet<String> = types.collect();
    for gone in written.difference(&expected) {
        println!("docs/api/foreign.md: {library}: -| `{gone}");
    }
    for new in expected.difference(&written) {
        println!("docs/api/foreign.md: {library}: +| `{new}");
    }
    written == expected
}
