//! Writes a module for each page that `src/SUMMARY.md` lists, with the page as its documentation. `cargo test` then runs the
//! snippets of the pages as doctests, and rustdoc shows the pages and their pictures.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=src");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let out = Path::new(&out);
    let summary = read("SUMMARY")?;
    let pages: Vec<&str> = summary.split("](").skip(1).filter_map(|link| Some(link.split_once(".md)")?.0)).collect();
    let pictures = pictures()?;
    let mut modules = String::new();
    for page in &pages {
        let mut text = read(page)?;
        // In rustdoc, a link to another page is a link to its module.
        for other in &pages {
            text = text.replace(&format!("]({other}.md"), &format!("](../{other}/index.html"));
        }
        for (link, picture) in &pictures {
            text = text.replace(link, picture);
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

/// Returns the link to each picture, and a link that contains the picture. rustdoc does not copy files, so its pages contain them.
fn pictures() -> io::Result<Vec<(String, String)>> {
    fs::read_dir("src/pictures")?
        .map(|file| {
            let file = file?;
            let svg = fs::read(file.path())?;
            let escaped: String = svg
                .iter()
                .map(|&byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
                    byte => format!("%{byte:02X}"),
                })
                .collect();
            let link = format!("](pictures/{})", file.file_name().display());
            Ok((link, format!("](data:image/svg+xml,{escaped})")))
        })
        .collect()
}
