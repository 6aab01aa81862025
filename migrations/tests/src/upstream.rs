//! The service that all programs call. Its paths behave differently.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{Html, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

/// A service on the loopback interface.
///
/// | the last part of the path | answer |
/// |---|---|
/// | `missing` | 404 |
/// | `late` | 200, after 0.7 s |
/// | `held` | 200, after [`release`](Upstream::release) |
/// | `broken` | 500 |
/// | a name | 200 |
///
/// `/site/{name}` is a page with links to `/site/a`, `/site/b` and `/site/missing`. `/chain/{n}` answers after 0.2 s, and links to
/// `/chain/{n - 1}`.
pub struct Upstream {
    /// The URL of the service.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    seen: watch::Sender<Vec<Seen>>,
    is_released: watch::Sender<bool>,
}

/// A request that the service has received.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
}

impl Upstream {
    /// Starts the service.
    pub async fn start() -> Upstream {
        let shared = Arc::new(Shared { seen: watch::Sender::default(), is_released: watch::Sender::default() });
        let router = Router::new()
            .route("/users/{name}", get(plain))
            .route("/prices/{name}", get(plain))
            .route("/top", get(async || "7, 9"))
            .route("/site/{name}", get(page))
            .route("/chain/{n}", get(chain))
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), see))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        tokio::spawn(async { axum::serve(listener, router).await });
        Upstream { url, shared }
    }

    /// Answers the requests to `held`.
    pub fn release(&self) {
        self.shared.is_released.send_replace(true);
    }

    /// Returns the requests for `path`, so far.
    pub fn requests(&self, path: &str) -> Vec<Seen> {
        self.shared.seen.borrow().iter().filter(|seen| seen.path == path).cloned().collect()
    }

    /// Waits until the service has received `count` requests for `path`, for at most 30 seconds.
    pub async fn received(&self, path: &str, count: usize) {
        let mut seen = self.shared.seen.subscribe();
        let enough = |seen: &Vec<Seen>| seen.iter().filter(|seen| seen.path == path).count() >= count;
        let received = tokio::time::timeout(Duration::from_secs(30), seen.wait_for(enough)).await;
        received.expect("requests within 30 seconds").expect("the service runs");
    }
}

async fn see(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let seen = Seen { path: request.uri().path().to_owned(), headers: request.headers().clone() };
    shared.seen.send_modify(|all| all.push(seen));
    next.run(request).await
}

/// Answers with a number, which may be a price.
async fn plain(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> (StatusCode, String) {
    (behave(&shared, &name).await, "1999".to_owned())
}

async fn page(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> (StatusCode, Html<&'static str>) {
    let status = behave(&shared, &name).await;
    (
        status,
        Html(
            r#"<a href="/site/a">a</a> <a href="b">b</a> <a href="/site/missing">?</a> <a href="http://elsewhere.test/">?</a>"#,
        ),
    )
}

async fn chain(Path(n): Path<u32>) -> Html<String> {
    tokio::time::sleep(Duration::from_millis(200)).await;
    Html(n.checked_sub(1).map_or(String::new(), |next| format!(r#"<a href="{next}">next</a>"#)))
}

/// Waits as the name says, and returns its status.
async fn behave(shared: &Shared, name: &str) -> StatusCode {
    match name {
        "missing" => return StatusCode::NOT_FOUND,
        "broken" => return StatusCode::INTERNAL_SERVER_ERROR,
        "late" => tokio::time::sleep(Duration::from_millis(700)).await,
        "held" => {
            let mut is_released = shared.is_released.subscribe();
            is_released.wait_for(|is_released| *is_released).await.expect("the service runs");
        }
        _ => {}
    }
    StatusCode::OK
}
