//! A headless Chromium, controlled over WebDriver. The helpers wait until an element is on the page.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use thirtyfour::{
    By, ChromiumLikeCapabilities as _, DesiredCapabilities, Key, LoggingPrefsLogLevel, WebDriver, WebElement,
    extensions::query::{ElementQuery, ElementQueryable as _},
};

use crate::common::PATIENCE;

/// The polling interval of a wait.
const GLANCE: Duration = Duration::from_millis(50);

/// Turns off the sandbox, which is not available to root in a container. Turns off the background activity of the browser.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-prefers-reduced-motion",
];

/// A browser with its own profile. [`close`](Browser::close) closes the browser. A drop kills it.
pub(crate) struct Browser {
    driver: WebDriver,
    // This field is after `driver`, because fields are dropped in order, and `driver` uses the process.
    _process: Driver,
}

impl Browser {
    /// Starts chromedriver on a free port, and a browser controlled by it.
    pub(crate) async fn start() -> Browser {
        let process = Driver::start();
        let mut capabilities = DesiredCapabilities::chrome();
        for flag in FLAGS {
            capabilities.add_arg(flag).expect("a flag");
        }
        let profile = format!("--user-data-dir={}", process.profile.display());
        capabilities.add_arg(&profile).expect("a flag");
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::All).expect("a level");
        let driver = WebDriver::new(format!("http://127.0.0.1:{}", process.port), capabilities).await;
        Browser { driver: driver.expect("chromedriver starts a browser"), _process: process }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.driver.goto(url).await.expect("it navigates");
    }

    /// Waits for a displayed element that matches and contains `text`. Returns the first such element.
    pub(crate) async fn see(&self, selector: &str, text: &str) -> WebElement {
        let wanted = text.to_owned();
        let query = self.query(selector).and_displayed();
        let query = query.with_text(move |text: &str| text.contains(&wanted));
        match query.first().await {
            Ok(element) => element,
            Err(error) => panic!("no {selector} with {text:?} ({error}), only: {}", self.text().await),
        }
    }

    /// Waits until no element matches.
    pub(crate) async fn see_gone(&self, selector: &str) {
        let gone = self.query(selector).not_exists().await.expect("it looks");
        assert!(gone, "there is still {selector}: {}", self.text().await);
    }

    fn query(&self, selector: &str) -> ElementQuery {
        self.driver.query(By::Css(selector.to_owned())).ignore_errors(true).wait(PATIENCE, GLANCE)
    }

    pub(crate) async fn text(&self) -> String {
        self.script("return document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// Runs a script. Returns its result.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.driver.execute(script, Vec::new()).await.expect("the script runs").json().clone()
    }

    pub(crate) async fn press(&self, key: Key) {
        self.driver.action_chain().send_keys(key).perform().await.expect("a key is pressed");
    }

    pub(crate) async fn address(&self) -> String {
        self.driver.current_url().await.expect("it has one").to_string()
    }

    /// Emulates a screen of this size in CSS pixels, a phone or not, in dark mode or not.
    pub(crate) async fn emulate(&self, width: u32, height: u32, is_phone: bool, is_dark: bool) {
        let metrics = json!({
            "width": width, "height": height, "mobile": is_phone, "deviceScaleFactor": if is_phone { 2 } else { 1 },
        });
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        let cdp = self.driver.cdp();
        cdp.send_raw("Emulation.setDeviceMetricsOverride", metrics).await.expect("Chromium knows it");
        cdp.send_raw("Emulation.setEmulatedMedia", media).await.expect("Chromium knows it");
    }

    /// Returns a picture of the visible part of the page, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        self.driver.screenshot_as_png().await.expect("it takes one")
    }

    /// Returns the browser's log: errors of the script, and violations of the page's policy.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.expect("chromedriver has one");
        log.into_iter().map(|entry| format!("{} {}", entry.level, entry.message)).collect()
    }

    pub(crate) async fn close(self) {
        self.driver.quit().await.expect("it closes");
    }
}

/// A chromedriver process and the profile of its browser. The process is killed when dropped.
struct Driver {
    process: Child,
    port: u16,
    profile: PathBuf,
}

impl Driver {
    fn start() -> Driver {
        static NEXT: AtomicU32 = AtomicU32::new(0);

        let program = env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".to_owned());
        let mut command = Command::new(&program);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {program} ({error}): scripts/browser-test installs it on Debian")
        });
        let mut output = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let port = output.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        // The pipe is drained, so that the process never blocks on the pipe.
        thread::spawn(move || output.for_each(drop));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("chromium-{}-{number}", std::process::id());
        let profile = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        Driver { process, port: port.expect("chromedriver says on which port it listens"), profile }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
