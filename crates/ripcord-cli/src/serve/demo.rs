//! Traffic for people who look at the pages: requests that succeed, that run into a deadline, and whose client leaves.

use std::{net::SocketAddr, time::Duration};

use reqwest::Client;
use ripcord::Context;
use ripcord_http::client::reqwest::RequestBuilderExt as _;

/// The time between two requests.
const PAUSE: Duration = Duration::from_millis(700);

/// A request that a demo client sends.
struct Demo {
    path: &'static str,
    client: DemoClient,
}

enum DemoClient {
    /// Waits for the answer.
    Patient,
    /// Sends its deadline with the request.
    Deadline(Duration),
    /// Closes the connection after this time.
    Leaves(Duration),
}

const REQUESTS: [Demo; 8] = [
    Demo { path: "/", client: DemoClient::Patient },
    Demo { path: "/search?q=context&timeout=500ms", client: DemoClient::Patient },
    Demo { path: "/slow", client: DemoClient::Leaves(Duration::from_millis(2500)) },
    Demo { path: "/search?q=deadline&timeout=2s", client: DemoClient::Patient },
    Demo { path: "/", client: DemoClient::Deadline(Duration::from_millis(1500)) },
    Demo { path: "/search?q=cancel&timeout=1s", client: DemoClient::Leaves(Duration::from_millis(300)) },
    Demo { path: "/", client: DemoClient::Deadline(Duration::from_secs(4)) },
    Demo { path: "/slow", client: DemoClient::Patient },
];

/// Sends requests to the service at `address`, one after the other, until `ctx` ends. The requests in flight end too.
pub(super) async fn run(ctx: &Context, client: Client, address: SocketAddr) {
    for Demo { path, client: kind } in REQUESTS.iter().cycle() {
        let request = client.get(format!("http://{address}{path}"));
        // The clients are independent of each other, as real clients are.
        let task = match kind {
            DemoClient::Patient => ctx.spawn(async |_| drop(request.send().await)),
            DemoClient::Deadline(timeout) => {
                let ctx = ctx.with_timeout(*timeout);
                ctx.spawn(async |ctx| drop(request.context(&ctx).send().await))
            }
            DemoClient::Leaves(after) => ctx.with_timeout(*after).spawn(async |_| drop(request.send().await)),
        };
        drop(task);
        if ctx.sleep(PAUSE).await.is_err() {
            return;
        }
    }
}
