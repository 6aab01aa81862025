//! What the pictures share: their fonts, and text that is safe in SVG.

/// Fonts of the reader's system. A picture in a page cannot load a font.
pub(crate) const SANS: &str = r#"system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif"#;
pub(crate) const MONO: &str =
    r#"ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace"#;

/// Returns `text` with its markup escaped, for use between tags.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Formats a coordinate with at most one digit after the point.
pub(crate) fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}
