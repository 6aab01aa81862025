//! The page for browsers.

use crate::html::head;

/// The page that `/` returns to a browser.
pub(super) const INDEX: &str = concat!(
    head!(),
    "<title>ripcord serve</title><main><h1>ripcord serve</h1>\
     <p>A small HTTP server. Each request has a <code>Context</code>, which the server passes to every function that waits. \
     The context says how much time the work has left, whether the work was canceled, by whom, and why. It ends when the client \
     disconnects, at the deadline, and at the end of the grace period when the server shuts down.</p>\
     <h2>Search</h2>\
     <form action=\"/search\"><input name=\"q\" aria-label=\"Words\" value=\"context\" required maxlength=\"200\"> \
     <input name=\"timeout\" aria-label=\"Timeout\" value=\"500ms\" size=\"10\"> <button>Search</button></form>\
     <p>Asks several backends at once, and returns the hits that arrive before the deadline. With the three built-in \
     backends, half a second is too short for <i>slow</i>, and <i>flaky</i> needs a second attempt.</p>\
     <h2>Try</h2><div class=\"wide\"><table>\
     <tr><td><a href=\"/slow\">/slow</a><td>works for ten seconds; 504 after five, its deadline</tr>\
     <tr><td><code>curl</code> <a href=\"/\">/</a><td>answers after two seconds; if you press Ctrl-C earlier, the log shows the disconnect</tr>\
     <tr><td><a href=\"/search?q=deadline&amp;timeout=2s\">/search?q=deadline&amp;timeout=2s</a><td>enough time for all backends; the second time, the cache answers</tr>\
     <tr><td><a href=\"/debug/contexts\">/debug/contexts</a><td>live requests, each with the time left, the reason for its end, and a button that cancels it</tr>\
     <tr><td><a href=\"/healthz\">/healthz</a><td>ready, or draining after Ctrl-C</tr>\
     <tr><td><a href=\"/metrics\">/metrics</a><td>metrics for Prometheus</tr>\
     </table></div>\
     <p><small>Clients without <code>Accept: text/html</code> get JSON or text.</small></p>\
     </main>"
);
