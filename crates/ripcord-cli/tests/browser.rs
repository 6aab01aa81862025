//! Tests the inspector's page in a real browser, with the real binary. `scripts/browser-test` installs the browser and runs this.

mod chromium;
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod common;
mod pictures;
#[path = "../../ripcord-redis/tests/redis/server.rs"]
#[expect(dead_code, reason = "for the tests of ripcord-redis")]
mod redis;

use std::net::SocketAddr;

use axum::Router;
use chromium::Browser;
use common::Server;
use redis::Server as Redis;
use ripcord::Context;
use ripcord_http::inspector::Inspector;
use serde_json::Value;
use thirtyfour::Key;
use tokio::net::TcpListener;

const CANCELED: &str = "canceled from the inspector by 127.0.0.1";

#[tokio::test]
#[ignore = "needs Chromium: scripts/browser-test"]
async fn slow_request_is_shown_and_canceled_from_the_page() {
    let server = Server::start(&[]);
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/debug/contexts", server.address)).await;
    browser.see(".status", "Live").await;

    let slow = server.request("/slow");
    let row = browser.see("#live > li", "GET /slow").await;
    let text = row.text().await.expect("it is there");
    assert!(text.contains("of 5 s left") && text.contains("local"), "{text}");

    browser.see("#live button[aria-label^='Cancel GET /slow']", "Cancel").await.click().await.expect("it is clicked");
    let verdict = browser.see("#live .verdict.canceled", CANCELED).await.text().await.expect("it is there");
    // The line belongs to the program with the inspector, not to the library.
    assert!(verdict.contains("src/serve/app.rs:") && verdict.contains("in GET /slow"), "{verdict}");
    let answer = slow.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.took.as_secs() < 5, "the cancel did not reach the request, its deadline did");

    // Afterwards, the request and its calls are in the list "Cut short".
    browser.see("#buckets .cut-short", "Cut short").await.click().await.expect("it is clicked");
    browser.see("#kept button", CANCELED).await.click().await.expect("it is clicked");
    browser.see("#kept .verdict", CANCELED).await;
    browser.see("#kept .calls", "GET /slow").await;
    browser.see("#kept .facts", "Request ID").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium and redis-server: scripts/browser-test"]
async fn cancel_on_the_page_of_one_service_ends_a_request_of_another() {
    let mut redis = Redis::start();
    let serve = |name| Server::start(&["--redis", &redis.url(), "--redis-name", name]);
    let (shop, mail) = (serve("shop"), serve("mail"));
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/debug/fleet", shop.address)).await;
    browser.see("#services li:nth-child(2)", "in flight").await;

    let slow = mail.request("/slow");
    let row = browser.see("#contexts tbody tr", "GET /slow").await;
    assert!(row.text().await.expect("it is there").starts_with("mail"), "the service is named");
    browser
        .see("#contexts button[aria-label='Cancel GET /slow of mail']", "Cancel")
        .await
        .click()
        .await
        .expect("it is clicked");
    let answer = slow.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.took.as_secs() < 5, "the cancel did not reach the request, its deadline did");
    let why = browser.see("#ended tbody tr", "canceled from the fleet page of shop by 127.0.0.1").await;
    assert!(why.text().await.expect("it is there").contains("mail"), "the service is named");
    let wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
    browser.emulate(360, 800, true, false).await;
    assert_eq!(browser.script(wide).await, false, "the page scrolls sideways on a phone");
    // The inspector shows where the limit of each backend is decided, also while nothing is in flight.
    browser.open(&format!("http://{}/debug/contexts", mail.address)).await;
    browser.see("#statuses div", "connected").await;
    redis.kill();
    browser.see("#statuses div", "local").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: scripts/browser-test"]
async fn page_is_usable_with_the_keyboard_alone() {
    let server = Server::start(&[]);
    let browser = Browser::start().await;
    browser.open(&format!("http://{}/debug/contexts", server.address)).await;
    let slow = server.request("/slow");
    browser.see("#live > li", "GET /slow").await;

    let focused = "return document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.tagName";
    let mut way = Vec::new();
    loop {
        browser.press(Key::Tab).await;
        let at = browser.script(focused).await.as_str().unwrap_or_default().to_owned();
        if at.starts_with("Cancel GET /slow") {
            break;
        }
        way.push(at);
        assert!(way.len() < 30, "Tab never comes to the button: {way:?}");
    }
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.script(outline).await, "solid", "the focus cannot be seen");
    browser.press(Key::Enter).await;
    browser.see("#live .verdict.canceled", CANCELED).await;
    assert_eq!(slow.answer().status, 503);
    let said = browser.script("return document.getElementById('announce').textContent").await;
    assert_eq!(said, "Canceled GET /slow");

    // The row disappears after some time, and the focus moves to another element.
    browser.see_gone("#live > li[data-state='canceled']").await;
    let lost = browser.script("return document.activeElement === document.body").await;
    assert_eq!(lost, false, "the focus is lost");
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: scripts/browser-test"]
async fn narrow_screen_needs_no_horizontal_scrolling_and_dark_mode_is_dark() {
    let (address, inspector) = serve().await;
    let long = "GET /a-route-with-a-very-long-name-that-has-no-place-to-break/{parameter}/on/a/narrow/screen";
    let job = inspector.watch(&Context::background().with_name(long).with_timeout(5 * common::PATIENCE));
    let (ctx, _span) =
        job.start_span("a call with a name as long as that of the route that it was made for, and longer");
    let (stuck, cancel) = Context::background().with_name(long).with_cancel();
    let _stuck = inspector.watch(&stuck);
    cancel.cancel_with("a_reason_that_goes_on_and_on_without_a_space_".repeat(5));
    drop(inspector.watch(&stuck));

    let browser = Browser::start().await;
    for (width, is_phone) in [(390, true), (320, true), (768, false), (1280, false)] {
        browser.emulate(width, 844, is_phone, is_phone).await;
        browser.open(&address).await;
        browser.see("#live .verdict", "a_reason").await;
        browser.see("#live button[aria-label^='Details']", "").await.click().await.expect("it is clicked");
        browser.see("#kept button", "GET /a-route").await.click().await.expect("it is clicked");
        browser.see("#kept .facts", "Cause").await;
        let widths = browser.script("return [document.documentElement.scrollWidth, window.innerWidth]").await;
        assert_eq!(widths[0], widths[1], "it scrolls sideways on a screen {width} pixels wide");
        assert_eq!(widths[1], width);
        let lightness = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]";
        let lightness = browser.script(lightness).await.as_u64().expect("a number");
        assert_eq!(lightness < 60, is_phone, "a background of {lightness} in the wrong scheme");
        // WCAG 1.4.11: the border of a control has a contrast of at least three to one with the adjacent colors.
        for control in ["#pause", "#json", "#filter", "#live .cancel:not(:disabled)", ".buckets [aria-pressed='true']"]
        {
            let contrast = browser.script(&contrast_of_border(control)).await.as_f64().expect("a number");
            assert!(contrast >= 3.0, "the border of {control} has a contrast of {contrast:.2}");
        }
        if is_phone {
            // The button is large enough for a finger.
            let height = "return document.querySelector('#live .cancel:not([hidden])').getBoundingClientRect().height";
            assert!(browser.script(height).await.as_f64() >= Some(40.0));
        }
    }
    drop(ctx);
    browser.close().await;
}

/// Returns a script that computes WCAG's contrast of a control's border with the backgrounds of the control and the page. The
/// script returns the lower contrast.
fn contrast_of_border(selector: &str) -> String {
    format!(
        r#"const control = getComputedStyle(document.querySelector("{selector}"));
        const luminance = (color) => {{
          const [red, green, blue] = color.match(/\d+/g).map(Number).map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
          return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        }};
        const border = luminance(control.borderTopColor);
        return Math.min(...[control, getComputedStyle(document.body)].map((around) => {{
          const two = [border, luminance(around.backgroundColor)];
          return (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
        }}));"#
    )
}

#[tokio::test]
#[ignore = "needs Chromium: scripts/browser-test"]
async fn markup_in_names_and_causes_is_shown_as_text() {
    let (address, inspector) = serve().await;
    let hostile = "</script><img src=x onerror=\"document.title='taken over'\"><b id=injected>";
    let (ctx, cancel) = Context::background().with_name(hostile).with_cancel();
    let held = inspector.watch(&ctx);
    let (call, trace) = held.start_span(hostile);
    cancel.cancel_with(hostile);
    drop((call, trace));
    drop(inspector.watch(&ctx));

    let browser = Browser::start().await;
    browser.open(&address).await;
    browser.see("#live .verdict", hostile).await;
    browser.see("#live .calls", hostile).await;
    browser.see("#live button[aria-label^='Details']", "").await.click().await.expect("it is clicked");
    browser.see("#live .facts", "Context").await;
    browser.see("#kept button", hostile).await.click().await.expect("it is clicked");
    browser.see("#kept .calls", hostile).await;
    let injected = browser.script("return document.querySelectorAll('img, #injected, main script').length").await;
    assert_eq!(injected, 0);
    let title = browser.script("return document.title").await;
    assert!(title.as_str().is_some_and(|title| title.ends_with("Contexts")), "{title}");
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: scripts/browser-test"]
async fn task_that_outlives_its_context_is_found_by_its_name() {
    let (address, inspector) = serve().await;
    let (ctx, cancel) = Context::background().with_name("nightly import").with_cancel();
    let job = inspector.watch(&ctx);
    let line = line!() + 1;
    let task = job.with_name("parse the file").task_guard();
    let _other = inspector.watch(&Context::background().with_name("another job"));

    let browser = Browser::start().await;
    browser.open(&address).await;
    browser.see("#live .tasks", "task parse the file").await;
    browser.see("#live .tasks .spawn", &format!("browser.rs:{line}:")).await;
    browser.see_gone("#live .tasks .why").await;
    cancel.cancel_with("superseded");
    browser.see("#live .tasks .late .why", "the task still runs").await;

    browser.see("#live", "another job").await;
    browser.script("const filter = document.getElementById('filter'); filter.value = 'PARSE'; filter.dispatchEvent(new Event('input'))").await;
    browser.see("#live > li", "nightly import").await;
    drop(task);
    browser.see_gone("#live .tasks").await;
    assert_eq!(browser.complaints().await, [""; 0]);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: scripts/browser-test"]
async fn token_in_the_url_gives_access_and_is_removed_from_it() {
    let token = "correct-horse-battery-staple";
    let server = Server::start(&["--inspector-token", token]);
    let page = format!("http://{}/debug/contexts", server.address);
    let browser = Browser::start().await;
    browser.open(&page).await;
    browser.see("body", "The inspector needs its token").await;

    browser.open(&format!("{page}?token={token}")).await;
    browser.see(".status", "Live").await;
    assert_eq!(browser.address().await, page);
    assert_eq!(browser.script("return document.cookie").await, "", "a script can read the cookie");
    // From now on, the cookie gives access, also for a cancel.
    browser.open(&page).await;
    let slow = server.request("/slow");
    browser.see("#live > li", "GET /slow").await;
    browser.see("#live button[aria-label^='Cancel GET /slow']", "Cancel").await.click().await.expect("it is clicked");
    assert_eq!(slow.answer().status, 503);
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: scripts/browser-test"]
async fn page_of_another_origin_can_neither_read_nor_cancel() {
    let (address, inspector) = serve().await;
    let job = inspector.watch(&Context::background().with_name("job"));
    let id = reqwest::get(format!("{address}/json")).await.expect("it answers").text().await.expect("it has a body");
    let id = serde_json::from_str::<Value>(&id).expect("JSON")["live"][0]["id"].clone();
    let (elsewhere, _) = serve().await;

    let browser = Browser::start().await;
    browser.open(&elsewhere).await;
    browser.see(".status", "Live").await;
    // The policy of the inspector's page would block these requests. A page of another site has no such policy.
    browser.open("about:blank").await;
    let ask = format!(
        "const ask = (path, options) => fetch('{address}' + path, options).then((answer) => answer.type, () => 'failed');
         return Promise.all([
           ask('/json', {{}}), ask('/json', {{ mode: 'no-cors' }}),
           ask('/cancel/{id}', {{ method: 'POST' }}), ask('/cancel/{id}', {{ method: 'POST', mode: 'no-cors' }}),
         ])"
    );
    let answers = browser.script(&ask).await;
    assert_eq!(answers, serde_json::json!(["failed", "failed", "failed", "failed"]));
    assert!(!job.is_done(), "a page of another site has canceled it");
    browser.close().await;
}

/// Serves an inspector without requests. Returns the address of its page.
async fn serve() -> (String, Inspector) {
    let inspector = Inspector::new();
    let app: Router = Router::new().nest("/debug/contexts", inspector.router());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    (format!("http://{address}/debug/contexts"), inspector)
}
