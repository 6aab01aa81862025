//! The pages of the guide: their list, their links and their code blocks. Doctests run the snippets, and `scripts/docs` checks the
//! links to docs.rs. Also the links of the other documents of the repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The languages of code blocks. Rust code without an attribute runs as a doctest.
const CODE: [&str; 10] =
    ["rust", "rust,no_run", "rust,compile_fail", "rust,should_panic", "go", "json", "sh", "sql", "text", "toml"];

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Returns the text of each page in `src` by its name.
fn pages() -> BTreeMap<String, String> {
    let files = fs::read_dir(SOURCE).expect("the guide has pages").map(|file| file.expect("a readable folder"));
    files
        .filter(|file| file.path().is_file())
        .map(|file| {
            let name = file.file_name().into_string().expect("a name in ASCII");
            (name, fs::read_to_string(file.path()).expect("a page in UTF-8"))
        })
        .collect()
}

/// Returns the text of each document of the repository outside of the guide, by its path.
fn documents() -> BTreeMap<PathBuf, String> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let crates = fs::read_dir(root.join("crates")).expect("the folder of the crates");
    let crates = crates.map(|folder| folder.expect("a readable folder").path());
    let folders = ["", "bench", "docs", "docs/integrations", "examples", "migrations"]
        .into_iter()
        .map(|folder| root.join(folder));
    let folders = folders.chain(crates.flat_map(|folder| [folder.join("docs"), folder]));
    // Some crates have no folder `docs`.
    let files = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    let files = files.map(|file| file.expect("a readable folder").path());
    let documents = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.map(|path| (path.clone(), fs::read_to_string(path).expect("a document in UTF-8"))).collect()
}

/// Returns the lines outside of code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the targets of the links in `text`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|link| Some(link.split_once(')')?.0))
}

/// Returns whether `page` has a heading with this anchor.
fn has_heading(page: &str, wanted: &str) -> bool {
    let headings = prose(page).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings.map(anchor).any(|found| found == wanted)
}

/// Returns the anchor that mdBook, rustdoc and GitHub give to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn summary_lists_each_page_once() {
    let pages = pages();
    let mut listed: Vec<&str> = links(&pages["SUMMARY.md"]).collect();
    listed.sort_unstable();
    let files: Vec<&str> = pages.keys().map(String::as_str).filter(|name| *name != "SUMMARY.md").collect();
    assert_eq!(listed, files);
}

#[test]
fn links_within_the_guide_lead_to_a_page_and_a_heading() {
    let pages = pages();
    for (name, page) in &pages {
        for line in prose(page) {
            for link in links(line).filter(|link| !link.starts_with("https://")) {
                if link.starts_with("pictures/") {
                    assert!(Path::new(SOURCE).join(link).is_file(), "{name}: no picture {link}");
                    continue;
                }
                let (file, heading) = link.split_once('#').unwrap_or((link, ""));
                let Some(target) = pages.get(if file.is_empty() { name.as_str() } else { file }) else {
                    panic!("{name}: no page {link}");
                };
                assert!(heading.is_empty() || has_heading(target, heading), "{name}: no heading {link}");
            }
        }
    }
}

#[test]
fn relative_links_of_the_repository_lead_to_a_file_and_a_heading() {
    let documents = documents();
    for (path, document) in &documents {
        let shown = path.display();
        for link in prose(document).flat_map(links).filter(|link| !link.starts_with("http")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let mut target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            if target.is_dir() && !heading.is_empty() {
                target.push("README.md");
            }
            assert!(target.exists(), "{shown}: no file {link}");
            let is_found = heading.is_empty() || has_heading(&fs::read_to_string(target).expect("a document"), heading);
            assert!(is_found, "{shown}: no heading {link}");
        }
    }
}

#[test]
fn snippets_of_the_integrations_are_in_their_programs() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../integrations"));
    let pages = documents()
        .into_iter()
        .filter(|(path, _)| path.parent().is_some_and(|parent| parent.ends_with("integrations")));
    for (path, page) in pages {
        let snippets =
            page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().expect("split returns a part"));
        for snippet in snippets {
            let recipe = folder.join(path.file_stem().expect("a page has a name"));
            let files =
                [recipe.join("src"), recipe.join("tests")].into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
            let mut programs = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
            assert!(
                programs.any(|program| program.contains(snippet)),
                "{}: not in a program:\n{snippet}",
                path.display()
            );
        }
    }
}

#[test]
fn each_readme_leads_to_the_guide() {
    for (path, document) in documents().iter().filter(|(path, _)| path.ends_with("README.md")) {
        let is_bench = path.ends_with("bench/README.md");
        assert!(is_bench || document.contains("docs/guide/src/"), "{}: no link to the guide", path.display());
    }
}

#[test]
fn code_blocks_run_or_are_in_another_language() {
    for (name, page) in &pages() {
        let fences = page.lines().filter_map(|line| line.trim_start().strip_prefix("```"));
        for language in fences.step_by(2) {
            assert!(CODE.contains(&language), "{name}: code block in {language:?}");
        }
    }
}

#[test]
fn rows_of_a_table_have_the_cells_of_its_head() {
    for (name, page) in &pages() {
        let mut head = None;
        for line in prose(page) {
            let is_row = line.starts_with('|');
            // A `|` inside of a cell is escaped.
            let cells = line.replace(r"\|", "").matches('|').count();
            assert!(!is_row || *head.get_or_insert(cells) == cells, "{name}: {line}");
            head = head.filter(|_| is_row);
        }
    }
}
