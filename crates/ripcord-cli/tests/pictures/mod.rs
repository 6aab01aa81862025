//! Photographs the pages for the documentation, in light and dark. `scripts/pictures pages` runs this.
//!
//! Without `UPDATE_PICTURES=1`, nothing is written.

use std::{env, fs, path::Path};

use crate::{chromium::Browser, common::Server, redis::Server as Redis};

const WIDTH: u32 = 1000;

/// Takes a picture of the page in light and in dark. `name` is the start of the names of the files.
async fn photograph(browser: &Browser, height: u32, name: &str) {
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        browser.emulate(WIDTH, height, false, is_dark).await;
        browser.script("scrollTo(0, 0)").await;
        let picture = browser.picture().await;
        // The tests of ripcord-pictures have the same limit.
        assert!(picture.len() <= 150_000, "{name}-{scheme}: {} bytes", picture.len());
        if env::var_os("UPDATE_PICTURES").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pictures");
            fs::write(folder.join(format!("{name}-{scheme}.png")), picture).expect("the folder can be written");
        }
    }
}

#[tokio::test]
#[ignore = "needs Chromium: scripts/pictures pages"]
async fn inspector_shows_live_canceled_and_finished_requests() {
    let server = Server::start(&["--demo"]);
    let browser = Browser::start().await;
    browser.emulate(WIDTH, 1080, false, false).await;
    browser.open(&format!("http://{}/debug/contexts", server.address)).await;
    browser.see("#buckets .cut-short", "Cut short").await.click().await.expect("it is clicked");
    browser.see("#kept", "client disconnected").await;

    let slow = server.request("/slow");
    browser.see("#live", "GET /slow").await;
    // The page changes all the time, so one script finds the button and clicks it. It may be that of a request of the demo.
    browser
        .script(r##"[...document.querySelectorAll("#live button[aria-label^='Cancel GET /slow']")].at(-1).click()"##)
        .await;
    browser.see("#live", "canceled from the inspector").await;
    // Words that the demo does not search for, so that no cache has them. After 300 ms, a second request to a slow backend starts.
    let search = server.request("/search?q=timer&timeout=4s");
    browser.see("#live", "another attempt of the same call won").await;
    photograph(&browser, 1080, "inspector").await;
    drop((slow, search));
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium and redis-server: scripts/pictures pages"]
async fn fleet_shows_the_requests_of_two_services() {
    let redis = Redis::start();
    let serve = |name| Server::start(&["--demo", "--redis", &redis.url(), "--redis-name", name]);
    let (shop, _mail) = (serve("shop"), serve("mail"));
    let browser = Browser::start().await;
    browser.emulate(WIDTH, 980, false, false).await;
    browser.open(&format!("http://{}/debug/fleet", shop.address)).await;
    browser.see("#services li:nth-child(2)", "mail").await;
    browser.see("#ended", "client disconnected").await;
    browser.see("#ended", "the service's --timeout of 5s").await;
    browser.see("#contexts tbody tr:nth-child(3)", "").await;
    photograph(&browser, 980, "fleet").await;
    browser.close().await;
}
