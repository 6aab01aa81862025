//! Tests the drawings, and the rules for all pictures of the documentation.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{chart, terminal};

/// The largest size of a photographed picture, in bytes.
const LARGEST: u64 = 150_000;
/// The width that a phone of 360 pixels leaves for a picture, and the smallest size of text that is readable there, in pixels.
const PHONE: f64 = 328.0;
const READABLE: f64 = 9.0;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the pictures of the documentation with this extension.
fn pictures(extension: &str) -> Vec<PathBuf> {
    let folders = ["docs/pictures", "docs/guide/src/pictures"].map(|folder| root().join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder of pictures"));
    let paths = files.map(|file| file.expect("a readable folder").path());
    let pictures: Vec<_> = paths.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    assert!(!pictures.is_empty());
    pictures
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A line of the bench's JSON.
fn line(row: &str, ratio: &str, target: &str, verdict: &str) -> String {
    format!(
        r#"{{"row": "{row}", "what": "call <T>", "rival": "tokio", "rivals": 90, "ratio": {ratio}, "target_at_most": null,
            "target_ratio": {target}, "floor_ratio": 2.5, "floor_target": 2, "verdict": "{verdict}", "samples": [1, 2.5e-3, null]}}"#
    )
}

#[test]
fn chart_marks_each_line_that_falls_short() {
    let lines = [
        line("C1", "3.5", "3", "holds"),
        line("C2", "0.5", "0.95", "falls short (rival)"),
        line("P1", "4", "3", "falls short (floor)"),
    ];
    let svg = chart::draw(&format!("[{}]", lines.join(","))).expect("a chart");
    assert!(
        svg.contains("1 of 3 lines reach their targets. These fall short: C2 call &lt;T&gt; against tokio, 0.5x; P1")
    );
    assert_eq!(svg.matches(r#"<path class="cross rival""#).count(), 2, "one in the legend and one for C2");
    assert_eq!(svg.matches(r#"<path class="cross floor""#).count(), 2);
    assert!(svg.contains("2.5x of its floor, target 2x"));
    assert!(svg.contains(">1 of 2 reach their targets<") && svg.contains(">0 of 1 reach their targets<"));
}

#[test]
fn chart_leaves_out_lines_without_a_target_or_a_rival() {
    let lines = [
        line("C1", "3.5", "3", "holds"),
        line("C2", "9", "null", "for comparison"),
        line("C3", "null", "2", "not run (no go on the PATH)"),
    ];
    let svg = chart::draw(&format!("[{}]", lines.join(","))).expect("a chart");
    assert!(svg.contains(">C1<") && !svg.contains(">C2<") && !svg.contains(">C3<"));
}

#[test]
fn chart_converts_an_absolute_target_to_a_ratio() {
    let line = line("C1", "3", "null", "holds").replace(r#""target_at_most": null"#, r#""target_at_most": 45"#);
    let svg = chart::draw(&format!("[{line}]")).expect("a chart");
    assert!(svg.contains(">3x</text>") && svg.contains(">2x</text>"), "90 divided by 45");
}

#[test]
fn bar_beyond_the_scale_has_an_arrow() {
    let svg = |ratio| chart::draw(&format!("[{}]", line("C1", ratio, "3", "holds"))).expect("a chart");
    assert!(svg("23212.06").contains(r#"<path class="holds""#) && svg("23212.06").contains("&gt;9999x"));
    assert!(!svg("150").contains(r#"<path class="holds""#));
}

#[test]
fn chart_of_a_trial_run_or_of_other_text_is_refused() {
    let refused = |text: &str| chart::draw(text).expect_err("no chart");
    assert_eq!(refused(&format!("[{}]", line("C1", "3", "3", "tried out"))), "the figures of --test have no meaning");
    assert_eq!(refused("[]"), "no line with a ratio and a target");
    assert_eq!(refused("row what ours"), "expected value at line 1 column 1");
    assert!(refused(r#"[{"row": "C1"}]"#).starts_with("missing field"));
}

#[test]
fn long_waits_are_shortened_and_commands_are_typed() {
    let svg = terminal::draw("0 1 $ serve\n90000 1 | Listening\n90100 2 ! refused\n").expect("a picture");
    assert!(svg.contains(r#"animation-duration:0.20s;animation-timing-function:steps(5)"#), "five keys of 0.04 s");
    // 0.5 s, the pause of 0.8 s, the typing, and the wait of 90 s as 1.5 s.
    assert!(svg.contains(r#"<text class="shown output" style="animation-delay:3.00s""#));
    assert!(svg.contains(r#"<text class="shown error" style="animation-delay:3.10s""#));
}

#[test]
fn line_of_another_format_is_refused() {
    let refused = |text: &str| terminal::draw(text).err();
    assert_eq!(refused("0 3 $ serve"), Some("not a line of a recording: 0 3 $ serve".to_owned()));
    assert_eq!(refused("# nothing\n"), Some("an empty recording".to_owned()));
}

#[test]
fn terminal_is_drawn_from_its_recording() {
    let folder = root().join("docs/pictures");
    let drawn = terminal::draw(&read(&folder.join("terminal.txt"))).expect("a recording");
    assert!(drawn == read(&folder.join("terminal.svg")), "terminal.svg is out of date: scripts/pictures terminal");
}

#[test]
fn drawings_have_a_title_a_dark_scheme_and_text_for_a_phone() {
    for path in pictures("svg") {
        let (svg, name) = (read(&path), path.display());
        for part in ["<title id=\"title\">", "<desc id=\"desc\">", "role=\"img\"", "(prefers-color-scheme: dark)"] {
            assert!(svg.contains(part), "{name}: no {part}");
        }
        for part in ["href", "url(", "@import", "@font-face", "<script", "<image", "<foreignObject"] {
            assert!(!svg.contains(part), "{name}: {part}");
        }
        assert!(!svg.contains("@keyframes") || svg.contains("(prefers-reduced-motion"), "{name}: motion for all");
        let (_, view) = svg.split_once("viewBox=\"0 0 ").expect("a view box");
        let width: f64 = view.split(' ').next().and_then(|width| width.parse().ok()).expect("a width");
        for size in sizes(&svg) {
            let size = size * PHONE / width;
            assert!(size >= READABLE, "{name}: text of {size:.1} pixels on a phone");
        }
    }
}

/// Returns the font sizes in the style of a drawing.
fn sizes(svg: &str) -> Vec<f64> {
    let values = svg.split("font: ").skip(1).chain(svg.split("font-size: ").skip(1));
    let sizes = values.filter_map(|value| value.split_once("px")?.0.split(' ').next_back()?.parse().ok());
    let sizes: Vec<f64> = sizes.collect();
    assert!(!sizes.is_empty());
    sizes
}

#[test]
fn photographs_are_small() {
    for path in pictures("png") {
        let size = fs::metadata(&path).expect("a file").len();
        assert!(size <= LARGEST, "{}: {size} bytes", path.display());
    }
}

#[test]
fn each_picture_is_on_a_page() {
    let guide =
        fs::read_dir(root().join("docs/guide/src")).expect("the guide").map(|file| file.expect("a file").path());
    let pages = guide.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let others = ["README.md", "bench/README.md", "crates/ripcord-cli/README.md"].map(|path| root().join(path));
    let texts: String = pages.chain(others).map(|path| read(&path)).collect();
    for path in pictures("svg").iter().chain(&pictures("png")) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name in ASCII");
        assert!(texts.contains(&format!("pictures/{name}")), "no page shows {name}");
    }
}
