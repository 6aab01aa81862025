//! The chart of the bench: one bar for each line with a target, in the order of the table.

mod line;

use line::{Line, Verdict};

use crate::svg::{MONO, SANS, escape, short};

/// The width of the picture. At this width, text of 11 units is readable on a phone.
const WIDTH: f64 = 400.0;
/// Where texts and bars start.
const LEFT: f64 = 46.0;
/// Where bars end.
const RIGHT: f64 = 288.0;
/// The right edges of the columns of figures.
const RATIO: f64 = 344.0;
const TARGET: f64 = 388.0;
/// The ratios at the two ends of the scale. A bar beyond an end has an arrow.
const SMALLEST: f64 = 0.2;
const LARGEST: f64 = 200.0;
/// The marks of the scale.
const MARKS: [f64; 4] = [0.25, 1.0, 10.0, 100.0];
/// The number of characters that fit on a line.
const CHARACTERS: usize = 52;

/// Draws the JSON of the bench.
///
/// # Errors
///
/// Returns an error if `text` is not such JSON, or comes from `--test`, or has no line with a ratio and a target.
pub(crate) fn draw(text: &str) -> Result<String, String> {
    let lines = line::read(text)?;
    let mut chart = Chart { body: String::new(), at: 0.0 };
    chart.heading(&lines);
    for lines in lines.chunk_by(|one, other| one.section() == other.section()) {
        chart.section(lines);
    }
    let height = chart.at + 12.0;
    Ok(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc">
<title id="title">ripcord against its rivals</title>
<desc id="desc">{}</desc>
<style>{}</style>
<rect class="paper" width="{WIDTH}" height="{height}" rx="10"/>
{}</svg>
"#,
        escape(&description(&lines)),
        style(),
        chart.body
    ))
}

/// Says in words what the chart shows.
fn description(lines: &[Line]) -> String {
    let holding = count(lines, Verdict::Holds);
    let mut text = format!("{holding} of {} lines reach their targets.", lines.len());
    let mut join = " These fall short: ";
    for line in lines.iter().filter(|line| line.verdict != Verdict::Holds) {
        text += &format!("{join}{} {} against {}, {}", line.row, line.what, line.rival, times(line.ratio));
        join = "; ";
    }
    if holding < lines.len() {
        text.push('.');
    }
    text
}

fn count(lines: &[Line], verdict: Verdict) -> usize {
    lines.iter().filter(|line| line.verdict == verdict).count()
}

fn style() -> String {
    format!(
        r#"
text {{ font: 11px {SANS}; fill: #64616b; }}
.title {{ font-size: 15px; font-weight: 600; fill: #1d1c21; }}
.section {{ font-size: 13px; font-weight: 600; fill: #1d1c21; }}
.what, .ratio {{ fill: #1d1c21; }}
.row {{ font: 600 11px {MONO}; }}
.ratio {{ font-weight: 600; }}
.soft {{ fill: #64616b; }}
.end {{ text-anchor: end; }}
.middle {{ text-anchor: middle; }}
.paper {{ fill: #f7f6f3; }}
.grid {{ stroke: #e0dcd4; fill: none; }}
.one {{ stroke: #8a8790; fill: none; }}
.target {{ stroke: #1d1c21; stroke-width: 2; fill: none; }}
.holds {{ fill: #0f766e; }}
.rival {{ fill: #b3261e; }}
.floor {{ fill: #b45309; }}
.cross {{ fill: none; stroke-width: 2; }}
.cross.rival {{ stroke: #b3261e; }}
.cross.floor {{ stroke: #b45309; }}
@media (prefers-color-scheme: dark) {{
text, .soft {{ fill: #9d9aa6; }}
.title, .section, .what, .ratio {{ fill: #e9e7e3; }}
.paper {{ fill: #121316; }}
.grid {{ stroke: #2b2d33; }}
.one {{ stroke: #6e6d78; }}
.target {{ stroke: #e9e7e3; }}
.holds {{ fill: #45c4b6; }}
.rival {{ fill: #f2877d; }}
.floor {{ fill: #f0b254; }}
.cross {{ fill: none; }}
.cross.rival {{ stroke: #f2877d; }}
.cross.floor {{ stroke: #f0b254; }}
}}
"#
    )
}

/// The elements so far, and the y coordinate below them.
struct Chart {
    body: String,
    at: f64,
}

impl Chart {
    fn heading(&mut self, lines: &[Line]) {
        self.text("title", 14.0, 26.0, "ripcord against its rivals");
        self.text("", 14.0, 46.0, "The rival’s cost divided by ripcord’s, on a logarithmic");
        self.text("", 14.0, 61.0, "scale. Right of 1x, ripcord costs less.");
        self.push(r#"<rect class="holds" x="14" y="73" width="18" height="5"/>"#);
        self.text("", LEFT, 79.0, &format!("reaches its targets: {}", count(lines, Verdict::Holds)));
        self.push(r#"<path class="target" d="M222 70v11"/>"#);
        self.text("", 234.0, 79.0, "the target");
        self.push(r#"<rect class="rival" x="14" y="89" width="18" height="5"/>"#);
        self.cross(Verdict::MissesRival, 35.0, 91.5);
        self.text(
            "",
            LEFT,
            95.0,
            &format!("misses the target against the rival: {}", count(lines, Verdict::MissesRival)),
        );
        self.push(r#"<rect class="floor" x="14" y="105" width="18" height="5"/>"#);
        self.cross(Verdict::MissesFloor, 35.0, 107.5);
        let missed = count(lines, Verdict::MissesFloor);
        self.text("", LEFT, 111.0, &format!("misses only the target against the floor: {missed}"));
        self.at = 118.0;
    }

    fn section(&mut self, lines: &[Line]) {
        let holding = format!("{} of {}", count(lines, Verdict::Holds), lines.len());
        self.text("section", 14.0, self.at + 25.0, lines[0].section());
        self.text("end", TARGET, self.at + 25.0, &format!("{holding} reach their targets"));
        self.at += 43.0;
        for mark in MARKS {
            self.text("middle", x(mark), self.at, &times(mark));
        }
        self.text("end", RATIO, self.at, "ratio");
        self.text("end", TARGET, self.at, "target");
        self.at += 4.0;

        let mut row = "";
        for line in lines {
            if line.row != row {
                self.text("row", 14.0, self.at + 13.0, &line.row);
                row = &line.row;
            }
            self.line(line);
        }
    }

    fn line(&mut self, line: &Line) {
        let texts = texts(line);
        for (class, text) in &texts {
            self.at += 13.0;
            self.push(&format!(r#"<text x="{LEFT}" y="{}" class="{class}">{text}</text>"#, short(self.at)));
        }
        let top = self.at + 4.0;
        // The marks of the scale are behind the bar, but not behind the texts.
        for mark in MARKS {
            let class = if mark == 1.0 { "one" } else { "grid" };
            self.push(&format!(r#"<path class="{class}" d="M{} {}v9"/>"#, short(x(mark)), short(top - 1.0)));
        }
        let (from, to) = (x(1.0_f64.min(line.ratio)), x(1.0_f64.max(line.ratio)));
        let class = line.verdict.class();
        let width = (to - from).max(1.5);
        let (left, y) = (short(from), short(top + 1.0));
        self.push(&format!(r#"<rect class="{class}" x="{left}" y="{y}" width="{}" height="5"/>"#, short(width)));
        if line.ratio > LARGEST {
            let (point, y) = (short(RIGHT), short(top - 2.0));
            self.push(&format!(r#"<path class="{class}" d="M{point} {y}l7 5.5-7 5.5z"/>"#));
        }
        self.push(&format!(r#"<path class="target" d="M{} {}v9"/>"#, short(x(line.target)), short(top - 1.0)));
        self.cross(line.verdict, 36.0, top + 3.5);
        self.text(&format!("end ratio {}", line.verdict.emphasis()), RATIO, top + 7.0, &times(line.ratio));
        self.text("end", TARGET, top + 7.0, &times(line.target));
        self.at += 15.0;
    }

    /// Marks a line that falls short, for readers who cannot tell the colors apart.
    fn cross(&mut self, verdict: Verdict, x: f64, y: f64) {
        if verdict != Verdict::Holds {
            let (class, left, top) = (verdict.class(), short(x - 3.0), short(y - 3.0));
            self.push(&format!(r#"<path class="cross {class}" d="M{left} {top}l6 6m0-6l-6 6"/>"#));
        }
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        let (x, y, text) = (short(x), short(y), escape(text));
        let class = if class.is_empty() { String::new() } else { format!(r#" class="{}""#, class.trim()) };
        self.push(&format!(r#"<text x="{x}" y="{y}"{class}>{text}</text>"#));
    }

    fn push(&mut self, element: &str) {
        self.body += element;
        self.body.push('\n');
    }
}

/// Returns the texts above the bar, each with its class: what is measured, the rival, and a missed target against the floor.
fn texts(line: &Line) -> Vec<(&'static str, String)> {
    let (what, rival) = (escape(&line.what), escape(&line.rival));
    let mut texts = if line.what.chars().count() + line.rival.chars().count() + 4 <= CHARACTERS {
        vec![("what", format!(r#"{what} <tspan class="soft">vs {rival}</tspan>"#))]
    } else {
        vec![("what", what), ("soft", format!("vs {rival}"))]
    };
    if let Some((ratio, target)) = line.missed_floor {
        texts.push(("floor", format!("{} of its floor, target {}", times(ratio), times(target))));
    }
    texts
}

/// Returns the x coordinate of a ratio.
fn x(ratio: f64) -> f64 {
    let share = (ratio.clamp(SMALLEST, LARGEST) / SMALLEST).ln() / (LARGEST / SMALLEST).ln();
    LEFT + share * (RIGHT - LEFT)
}

/// Formats a ratio as the table of the bench does, without zeros at the end.
fn times(ratio: f64) -> String {
    if ratio >= 10_000.0 {
        return ">9999x".to_owned();
    }
    let digits = if ratio >= 100.0 {
        0
    } else if ratio >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{ratio:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}x")
}
