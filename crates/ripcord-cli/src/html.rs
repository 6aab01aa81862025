//! The parts that the HTML pages share. They have no script and load nothing.

use std::fmt;

use axum::http::{HeaderMap, header::ACCEPT};

macro_rules! head {
    () => {
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <style>\
         :root { color-scheme: light dark; --dim: light-dark(#5a6070, #9aa3b2); --line: light-dark(#d5d9e0, #363b45); \
         --good: light-dark(#0b6b2e, #6fd08c); --bad: light-dark(#a3261d, #ff9087); }\
         body { font: 1rem/1.55 system-ui, sans-serif; margin: 0; }\
         main { max-width: 46rem; margin: 0 auto; padding: 1rem 1.25rem 3rem; }\
         h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }\
         code, pre { font-family: ui-monospace, monospace; font-size: .9em; }\
         pre, .wide { overflow-x: auto; }\
         table { border-collapse: collapse; width: 100%; }\
         th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }\
         small { color: var(--dim); } td:first-child, .number { white-space: nowrap; } .good { color: var(--good); } .bad { color: var(--bad); }\
         input, button { font: inherit; padding: .3rem .6rem; max-width: 100%; box-sizing: border-box; }\
         </style>\n"
    };
}

pub(crate) use head;

/// The start of every page. The macro `head` returns the same text for `concat!`.
pub(crate) const HEAD: &str = head!();

/// Returns whether the client is a browser: it accepts `text/html` by name. Programs send `*/*`.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        html && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// Text that is escaped for HTML, also inside a quoted attribute.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => fmt::Write::write_char(f, other),
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn client_that_names_html_wants_a_page() {
        let wants =
            |accept: &'static str| wants_page(&[(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect());
        assert!(wants("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(wants("application/json, Text/HTML;q=0.5"));
        assert!(!wants("*/*"));
        assert!(!wants("text/*"));
        assert!(!wants("text/html;q=0, */*"));
        assert!(!wants_page(&HeaderMap::new()));
    }

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(Escaped("<b>'&\"").to_string(), "&lt;b&gt;&#39;&amp;&quot;");
    }
}
