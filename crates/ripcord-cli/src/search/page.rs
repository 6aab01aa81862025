//! An answer as a page for browsers.

use std::fmt::{self, Write as _};

use axum::response::{Html, IntoResponse as _, Response};

use super::{Answer, BackendOutcome};
use crate::html::{Escaped, HEAD};

/// Returns the answer as a page.
pub(super) fn page(answer: &Answer) -> Response {
    let mut html = String::new();
    write(&mut html, answer).expect("writing to a string does not fail");
    (answer.status(), Html(html)).into_response()
}

fn write(html: &mut String, answer: &Answer) -> fmt::Result {
    let query = Escaped(&answer.query);
    write!(
        html,
        "{HEAD}<title>{query} · ripcord search</title><main><p><a href=\"/\">ripcord serve</a></p><h1>Search</h1>"
    )?;
    write!(
        html,
        "<form action=\"/search\"><input name=\"q\" aria-label=\"Words\" value=\"{query}\" required maxlength=\"200\"> \
         <input name=\"timeout\" aria-label=\"Timeout\" placeholder=\"timeout, as in 500ms\" size=\"16\" value=\"{}\"> \
         <button>Search</button></form>",
        answer.timeout_ms.map_or(String::new(), |timeout| format!("{timeout:.0}ms")),
    )?;
    let part = if answer.complete { "All backends answered" } else { "Some backends did not answer" };
    write!(html, "<p>{part}, after {:.1} ms.</p>", answer.took_ms)?;

    html.push_str("<div class=\"wide\"><table><tr><th>backend<th>outcome<th>cache<th>requests<th>took<th>error</tr>");
    for report in &answer.backends {
        let class = if report.outcome == BackendOutcome::Ok { "good" } else { "bad" };
        write!(
            html,
            "<tr><td>{}<td class=\"{class}\">{}<td>{}<td>{}<td class=\"number\">{:.1} ms<td>{}",
            Escaped(&report.name),
            report.outcome.as_str(),
            report.source.unwrap_or_default(),
            report.requests.count(),
            report.took_ms,
            Escaped(report.error.as_deref().unwrap_or_default()),
        )?;
        if let Some(wait) = report.retry_after_ms {
            write!(html, ", retry in {wait:.0} ms")?;
        }
        html.push_str("</tr>");
    }
    html.push_str("</table></div>");

    write!(html, "<h2>{} hits</h2><ul>", answer.hits.len())?;
    for hit in &answer.hits {
        write!(
            html,
            "<li><b>{}</b> <small>{}</small><br>{}",
            Escaped(&hit.title),
            Escaped(&hit.backend),
            Escaped(&hit.snippet)
        )?;
    }
    html.push_str("</ul><h2>Trace</h2><pre>");
    for line in &answer.trace {
        let indent = "  ".repeat(line.depth);
        writeln!(
            html,
            "{:>9.1} ms  {indent}{} <small>{:.1} ms, {}</small>",
            line.start_ms,
            Escaped(&line.name),
            line.took_ms,
            line.state
        )?;
    }
    let id = answer.request_id.as_deref().unwrap_or("unknown");
    write!(html, "</pre><p><small>Request {}</small></p></main>", Escaped(id))
}
