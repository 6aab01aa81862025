//! The page for people in a browser.

use crate::html::head;

/// `/`, for a browser.
pub(super) const INDEX: &str = concat!(
    head!(),
    "<title>ripcord serve</title><main><h1>ripcord serve</h1>\
     <p>A small HTTP server, every request of which has a <code>Context</code>: one value, passed down every call, that \
     says how long the work may still take, whether it has been called off, by whom and why. It ends when its client \
     goes away, when its deadline passes, and when the server has been told to stop and its grace is over.</p>\
     <h2>Search</h2>\
     <form action=\"/search\"><input name=\"q\" aria-label=\"Words\" value=\"context\" required maxlength=\"200\"> \
     <input name=\"timeout\" aria-label=\"Timeout\" value=\"500ms\" size=\"10\"> <button>Search</button></form>\
     <p>Asks several backends at once, and answers with what came in before the deadline. With the three that are \
     built in, half a second is too little for <i>slow</i>, and <i>flaky</i> has to be asked twice.</p>\
     <h2>To try</h2><div class=\"wide\"><table>\
     <tr><td><a href=\"/slow\">/slow</a><td>would take ten seconds, and is a 504 after five: its deadline</tr>\
     <tr><td><code>curl</code> <a href=\"/\">/</a><td>takes two seconds; press Ctrl-C before, and the log says who has gone</tr>\
     <tr><td><a href=\"/search?q=deadline&amp;timeout=2s\">/search?q=deadline&amp;timeout=2s</a><td>enough time for all; once more, and it comes from the cache</tr>\
     <tr><td><a href=\"/debug/contexts\">/debug/contexts</a><td>what is under way, live: how much time it has left, who canceled it, and a button to do so</tr>\
     <tr><td><a href=\"/healthz\">/healthz</a><td>ready, or draining after Ctrl-C</tr>\
     <tr><td><a href=\"/metrics\">/metrics</a><td>what was counted, for Prometheus</tr>\
     </table></div>\
     <p><small>Programs get the same as JSON or text: this page is for who says <code>Accept: text/html</code>.</small></p>\
     </main>"
);
