//! The animated terminal: two windows, drawn from a recording.

mod recording;

use recording::{Event, Kind, Window};

use crate::svg::{MONO, SANS, escape, short};

/// The width of the picture. At this width, a terminal of [`COLUMNS`] columns is readable on a phone.
const WIDTH: f64 = 400.0;
const COLUMNS: usize = 52;
const LEFT: f64 = 18.0;
/// The width of a character of the font below: 0.602 of its size, in each of the fonts.
const CHARACTER: f64 = 7.0;
const FONT: f64 = 11.6;
const ROW: f64 = 16.0;
/// The height of a window above its first row, and below its last row.
const ABOVE: f64 = 26.0;
const BELOW: f64 = 10.0;

/// Seconds for one typed character, and the most for one command.
const KEY: f64 = 0.04;
const LONGEST_COMMAND: f64 = 3.0;
/// The longest wait that is shown, in seconds. Longer waits of the recording, such as that for the compiler, are shortened to it.
const LONGEST_WAIT: f64 = 1.5;
/// The pause between a command and its typing.
const PAUSE: f64 = 0.8;

/// Draws a recording of `scripts/pictures record`.
///
/// # Errors
///
/// Returns an error if a line of `text` is not a line of such a recording, or if there is none.
pub(crate) fn draw(text: &str) -> Result<String, String> {
    let events = recording::read(text)?;
    let mut rows = rows(&events);
    let first = window(&mut rows, Window::First, 10.0);
    let second = window(&mut rows, Window::Second, first.0 + 10.0);
    let height = second.0 + 10.0;
    let drawn: String = rows.iter().map(Row::draw).collect();
    let transcript: Vec<&str> = events.iter().map(|event| event.text.trim()).collect();
    Ok(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{}" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc">
<title id="title">The first two minutes with ripcord, in two terminals</title>
<desc id="desc">{}</desc>
<style>{}</style>
<rect class="paper" width="{WIDTH}" height="{height}" rx="10"/>
{}{}{drawn}</svg>
"#,
        short(height * 560.0 / WIDTH),
        escape(&transcript.join(" ⏎ ")),
        style(),
        first.1,
        second.1,
    ))
}

fn style() -> String {
    format!(
        r#"
text {{ font: {FONT}px {MONO}; fill: #1d1c21; white-space: pre; }}
.heading {{ font: 11px {SANS}; fill: #64616b; text-anchor: middle; }}
.paper {{ fill: #f7f6f3; }}
.sheet {{ fill: #ffffff; stroke: #d3cfc7; }}
.light {{ fill: #d3cfc7; }}
.cover {{ fill: #ffffff; transform: scaleX(0); transform-box: fill-box; transform-origin: right; }}
.prompt {{ fill: #0f766e; font-weight: 600; }}
.output {{ fill: #55525c; }}
.error {{ fill: #a8326b; }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e9e7e3; }}
.heading {{ fill: #9d9aa6; }}
.paper {{ fill: #121316; }}
.sheet {{ fill: #191b1f; stroke: #3a3c44; }}
.light {{ fill: #3a3c44; }}
.cover {{ fill: #191b1f; }}
.prompt {{ fill: #45c4b6; }}
.output {{ fill: #b3b0ba; }}
.error {{ fill: #ec8fb9; }}
}}
/* Without animations, all lines are there from the start. */
@media (prefers-reduced-motion: no-preference) {{
.shown {{ animation: show .01s linear both; }}
.cover {{ animation: uncover 1s linear both; }}
}}
@keyframes show {{ from {{ opacity: 0; }} }}
@keyframes uncover {{ from {{ transform: scaleX(1); }} }}
"#
    )
}

/// One row of a window.
struct Row<'a> {
    window: Window,
    class: &'static str,
    text: &'a str,
    /// Whether this is the first row of a command, after the prompt.
    has_prompt: bool,
    /// The seconds at which the row appears, or its first character is typed.
    start: f64,
    /// The seconds that typing takes; 0 for output.
    typing: f64,
    y: f64,
}

impl Row<'_> {
    fn draw(&self) -> String {
        let (y, start, text) = (short(self.y), self.start, escape(self.text));
        let prompt = if self.has_prompt { r#"<tspan class="prompt">$ </tspan>"# } else { "" };
        let class = self.class;
        let mut row = format!(
            "<text class=\"shown {class}\" style=\"animation-delay:{start:.2}s\" x=\"{LEFT}\" y=\"{y}\">{prompt}{text}</text>\n"
        );
        if self.typing > 0.0 {
            let characters = self.text.chars().count();
            let left = LEFT + if self.has_prompt { 2.0 * CHARACTER } else { 0.0 };
            let (left, top) = (short(left), short(self.y - 12.0));
            let width = short(characters as f64 * CHARACTER + 4.0);
            row += &format!(
                "<rect class=\"cover\" style=\"animation-delay:{start:.2}s;animation-duration:{:.2}s;animation-timing-function:steps({characters})\" \
                 x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{ROW}\"/>\n",
                self.typing,
            );
        }
        row
    }
}

/// Breaks the events into rows, and computes when each appears.
fn rows<'a>(events: &'a [Event<'a>]) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    let mut now: f64 = 0.5;
    let mut recorded = 0.0;
    for event in events {
        let waited: f64 = event.seconds - recorded;
        recorded = event.seconds;
        now += waited.clamp(0.0, LONGEST_WAIT);
        let is_command = event.kind == Kind::Command;
        if is_command {
            now += PAUSE;
        }
        let class = match event.kind {
            Kind::Command => "command",
            Kind::Output => "output",
            Kind::Error => "error",
        };
        for (number, text) in wrap(event.text, if is_command { 2 } else { 0 }).into_iter().enumerate() {
            let typing = if is_command { (text.chars().count() as f64 * KEY).min(LONGEST_COMMAND) } else { 0.0 };
            let has_prompt = is_command && number == 0;
            rows.push(Row { window: event.window, class, text, has_prompt, start: now, typing, y: 0.0 });
            now += typing;
        }
    }
    rows
}

/// Breaks a text into rows. The first row is shorter by `indent` characters. A row ends after a space or an ampersand, if
/// there is one in its second half.
fn wrap(text: &str, indent: usize) -> Vec<&str> {
    let mut rows = Vec::new();
    let (mut rest, mut columns) = (text, COLUMNS - indent);
    while let Some((end, _)) = rest.char_indices().nth(columns) {
        let end = match rest[..end].rfind([' ', '&']) {
            Some(last) if last > end / 2 => last + 1,
            _ => end,
        };
        rows.push(&rest[..end]);
        rest = &rest[end..];
        columns = COLUMNS;
    }
    rows.push(rest);
    rows
}

/// Places the rows of a window below `top`. Returns the bottom of the window, and its frame.
fn window(rows: &mut [Row<'_>], window: Window, top: f64) -> (f64, String) {
    let mut y = top + ABOVE;
    for row in rows.iter_mut().filter(|row| row.window == window) {
        y += ROW;
        row.y = y;
    }
    let height = y + BELOW - top;
    let (name, middle) = (window.name(), WIDTH / 2.0);
    let (lights, heading) = (short(top + 15.0), short(top + 19.0));
    let frame = format!(
        r#"<rect class="sheet" x="8" y="{}" width="384" height="{}" rx="8"/>
<circle class="light" cx="24" cy="{lights}" r="4"/><circle class="light" cx="38" cy="{lights}" r="4"/><circle class="light" cx="52" cy="{lights}" r="4"/>
<text class="heading" x="{middle}" y="{heading}">{name}</text>
"#,
        short(top),
        short(height),
    );
    (top + height, frame)
}
