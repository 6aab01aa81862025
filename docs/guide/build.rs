//! Writes a module for each page that `src/SUMMARY.md` lists, with the page as its documentation. `cargo test` then runs the
//! snippets of the pages as doctests, and rustdoc shows the pages.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=src");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let out = Path::new(&out);
    let summary = read("SUMMARY")?;
    let pages: Vec<&str> = summary.split("](").skip(1).filter_map(|link| Some(link.split_once(".md)")?.0)).collect();
    let mut modules = String::new();
    for page in &pages {
        let mut text = read(page)?;
        // In rustdoc, a link to another page is a link to its module.
        for other in &pages {
            text = text.replace(&format!("]({other}.md"), &format!("](../{other}/index.html"));
        }
        fs::write(out.join(format!("{page}.md")), text)?;
        // The documentation starts in line 1, so that a failed doctest is reported with its line in the page.
        fs::write(out.join(format!("{page}.rs")), format!("#![doc = include_str!(\"{page}.md\")]\n"))?;
        modules += &format!("pub mod {page};\n");
    }
    fs::write(out.join("pages.rs"), modules)
}

fn read(page: &str) -> io::Result<String> {
    fs::read_to_string(format!("src/{page}.md")).map_err(|error| io::Error::other(format!("src/{page}.md: {error}")))
}
