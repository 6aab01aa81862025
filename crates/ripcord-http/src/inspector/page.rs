//! The page: one answer, with its style and its script in it.

use crate::trace_context::hex;

/// A page with the policy that lets its own style and script run, and nothing else.
pub(super) struct Page {
    pub(super) html: String,
    pub(super) policy: String,
}

/// A page for one answer: the nonce is used once.
///
/// Nothing that users wrote is in it. Its script reads the rest as JSON, and puts it into the page as text.
///
/// # Panics
///
/// When the system has no random numbers.
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
