//! The pages of the guide: their list, their links and their code blocks. Doctests run the snippets, and `scripts/docs` checks the
//! links to docs.rs.

use std::collections::BTreeMap;
use std::fs;

/// The languages of code blocks. Rust code without an attribute runs as a doctest.
const CODE: [&str; 10] =
    ["rust", "rust,no_run", "rust,compile_fail", "rust,should_panic", "go", "json", "sh", "sql", "text", "toml"];

/// Returns the text of each file in `src` by its name.
fn pages() -> BTreeMap<String, String> {
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).expect("the guide has pages");
    files
        .map(|file| {
            let file = file.expect("a readable folder");
            let name = file.file_name().into_string().expect("a name in ASCII");
            (name, fs::read_to_string(file.path()).expect("a page in UTF-8"))
        })
        .collect()
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

/// Returns the anchor that mdBook and rustdoc give to a heading.
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
                let (file, heading) = link.split_once('#').unwrap_or((link, ""));
                let Some(target) = pages.get(if file.is_empty() { name.as_str() } else { file }) else {
                    panic!("{name}: no page {link}");
                };
                let mut headings =
                    prose(target).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
                let is_found = heading.is_empty() || headings.any(|text| anchor(text) == heading);
                assert!(is_found, "{name}: no heading {link}");
            }
        }
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
