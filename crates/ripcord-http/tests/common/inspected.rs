//! Helpers: a server with an inspector, in-process and on a manual clock.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use axum::routing::get;
use http::Request;
use http_body_util::BodyExt as _;
use ripcord::{Clock, Context, ManualTime};
use ripcord_http::inspector::Inspector;
use ripcord_http::server::{ContextLayer, Ctx, Ended, detach, matched_path};
use serde_json::Value;
use tower::ServiceExt as _;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Runs a query of one second in a span. The query ends with the context.
async fn report(Ctx(ctx): Ctx) -> Result<&'static str, Ended> {
    let (ctx, _span) = ctx.start_span("query");
    ctx.sleep(SECOND).await?;
    Ok("done")
}

async fn bug() -> &'static str {
    panic!("a bug")
}

/// Makes a payment of one second. The payment continues after a disconnect.
async fn pay(Ctx(ctx): Ctx) -> Result<&'static str, Ended> {
    let payment = detach(&ctx).run(async move { ctx.sleep(SECOND).await });
    tokio::spawn(payment).await.expect("it does not panic")?;
    Ok("paid")
}

pub(crate) struct Server {
    app: Router,
    pub(crate) time: ManualTime,
}

impl Server {
    pub(crate) fn new(change: impl FnOnce(ContextLayer) -> ContextLayer) -> Self {
        let (clock, time) = Clock::manual();
        let server = Context::background().with_clock(clock).with_name("server");
        let inspector = Inspector::builder().context(&server).build().expect("valid settings");
        let layer = ContextLayer::new(&server).timeout(5 * SECOND).name(matched_path).inspector(&inspector);
        let app = Router::new().route("/report/{day}", get(report)).route("/bug", get(bug)).route("/pay", get(pay));
        let app = app.layer(change(layer));
        Server { app: app.nest("/debug/contexts", inspector.router()), time }
    }

    pub(crate) async fn ask(&self, mut request: Request<Body>) -> Response {
        let peer: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(peer));
        request.headers_mut().insert("host", "localhost:8080".parse().unwrap());
        self.app.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn shown(&self) -> Value {
        let response = self.ask(Request::get("/debug/contexts/json").body(Body::empty()).unwrap()).await;
        serde_json::from_str(&read(response).await).unwrap()
    }
}

/// Reads a response to its end. Otherwise the drop of the response would count as a disconnect.
pub(crate) async fn read(response: Response) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

pub(crate) fn request() -> Request<Body> {
    Request::get("/report/today?secret=1").header("connect-timeout-ms", "3000").body(Body::empty()).unwrap()
}
