//! The page: one response that contains its style and script.

use crate::trace_context::hex;

/// The page, with a content security policy that allows only the page's own style and script.
pub(super) struct Page {
    pub(super) html: String,
    pub(super) policy: String,
}

/// Creates the page for one response. The nonce must not be used again.
///
/// The page contains no data. Its script reads the data as JSON and inserts the data as text.
///
/// # Panics
///
/// Panics if the system provides no random numbers.
pub(super) fn render() -> Page {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).expect("the system has random numbers");
    let nonce = hex::text(&secret);
    let html = include_str!("page/page.html")
        .replace("{nonce}", &nonce)
        .replace("{style}", include_str!("page/style.css"))
        .replace("{script}", include_str!("page/script.js"));
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Page { html, policy }
}
