//! Tests the routes.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use futures::FutureExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use ripcord::Context;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::super::{CanceledHere, Inspector};
use super::Request as Tracked;

const TOKEN: &str = "correct-horse-battery-staple";

async fn ask(inspector: &Inspector, peer: &str, request: http::request::Builder) -> Response<Body> {
    let app: Router = Router::new().nest("/debug/contexts", inspector.router());
    let mut request = request.header("host", "localhost:8080").body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    app.oneshot(request).await.unwrap()
}

async fn ask_here(inspector: &Inspector, method: &str, path: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(format!("/debug/contexts{path}"));
    let response = ask(inspector, "127.0.0.1:4000", request).await;
    let status = response.status();
    (status, serde_json::from_str(&text(response).await).unwrap_or_default())
}

async fn text(response: Response<Body>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn page_is_one_answer_with_a_strict_policy() {
    let inspector = Inspector::new();
    let response = ask(&inspector, "127.0.0.1:4000", Request::get("/debug/contexts")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert!(!response.headers().contains_key("set-cookie"));
    let policy = header("content-security-policy");
    let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    assert_eq!(nonce.len(), 32);
    for part in
        ["default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");

    let page = text(response).await;
    assert_eq!(page.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(!page.contains("{nonce}") && !page.contains("{style}") && !page.contains("{script}"));
    // The page loads nothing from other sites. Its only URL is an XML namespace.
    let addresses: Vec<_> = page.match_indices("http").map(|(at, _)| &page[at..page.len().min(at + 26)]).collect();
    assert!(addresses.iter().all(|address| *address == "http://www.w3.org/2000/svg"), "{addresses:?}");
    // The script never parses text as markup.
    for sink in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!page.contains(sink), "{sink}");
    }
    let again = ask(&inspector, "127.0.0.1:4000", Request::get("/debug/contexts")).await;
    assert_ne!(again.headers()["content-security-policy"], policy.as_str());
}

#[tokio::test]
async fn refused_request_gets_one_line_with_the_reason() {
    let inspector = Inspector::new();
    for path in ["", "/json", "/json/0", "/events", "/nothing"] {
        let response = ask(&inspector, "10.0.0.7:4000", Request::get(format!("/debug/contexts{path}"))).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let line = "The inspector answers loopback only. Set a token to allow other machines.\n";
        assert_eq!(text(response).await, line, "{path}");
    }
}

#[tokio::test]
async fn token_in_the_url_is_exchanged_for_a_cookie() {
    let inspector = Inspector::builder().token(TOKEN.parse().unwrap()).build().expect("valid settings");
    let peer = "203.0.113.9:4000";
    assert_eq!(ask(&inspector, peer, Request::get("/debug/contexts")).await.status(), StatusCode::FORBIDDEN);
    let page = ask(&inspector, peer, Request::get(format!("/debug/contexts?token={TOKEN}"))).await;
    assert_eq!(page.status(), StatusCode::OK);
    let cookie = page.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; Path=/debug/contexts;"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let json = ask(&inspector, peer, Request::get("/debug/contexts/json").header("cookie", cookie)).await;
    assert_eq!(json.status(), StatusCode::OK);
    // A request with a bearer token gets no cookie.
    let bearer = Request::get("/debug/contexts/json").header("authorization", format!("Bearer {TOKEN}"));
    let json = ask(&inspector, peer, bearer).await;
    assert_eq!((json.status(), json.headers().get("set-cookie")), (StatusCode::OK, None));
}

#[tokio::test]
async fn cancel_from_the_page_reports_its_peer() {
    let inspector = Inspector::new();
    let request = Tracked::start(&inspector, &Context::background(), "GET /slow");
    let (_, snapshot) = ask_here(&inspector, "GET", "/json").await;
    let path = format!("/cancel/{}", snapshot["live"][0]["id"]);

    assert_eq!(ask_here(&inspector, "POST", &path).await, (StatusCode::OK, json!({"canceled": true})));
    let cause = request.ctx.cause().unwrap();
    assert_eq!(cause.to_string(), "canceled from the inspector by 127.0.0.1");
    assert!(cause.as_error().downcast_ref::<CanceledHere>().is_some_and(|cause| cause.by().unwrap().is_loopback()));
    let because = "the context had already ended: canceled from the inspector by 127.0.0.1";
    let late = (StatusCode::CONFLICT, json!({"canceled": false, "because": because}));
    assert_eq!(ask_here(&inspector, "POST", &path).await, late);

    drop(request);
    let gone = (StatusCode::NOT_FOUND, json!({"canceled": false, "because": "there is no such entry"}));
    assert_eq!(ask_here(&inspector, "POST", &path).await, gone);
    let (_, snapshot) = ask_here(&inspector, "GET", "/json").await;
    assert_eq!(snapshot["summary"]["canceled_here"], 1);
    assert_eq!(snapshot["cut_short"][0]["end"]["causes"], json!(["canceled from the inspector by 127.0.0.1"]));
}

#[test]
fn first_of_two_concurrent_cancels_is_the_cause() {
    let inspector = Inspector::new();
    for _ in 0..200 {
        let request = Tracked::start(&inspector, &Context::background(), "GET /slow");
        let id = super::json(&inspector)["live"][0]["id"].clone();
        let both = std::sync::Barrier::new(2);
        let cancel = || {
            both.wait();
            ask_here(&inspector, "POST", &format!("/cancel/{id}")).now_or_never().expect("it waits for nothing").0
        };
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(cancel);
            (cancel(), one.join().unwrap())
        });
        assert!(
            [(StatusCode::OK, StatusCode::CONFLICT), (StatusCode::CONFLICT, StatusCode::OK)].contains(&(one, other))
        );
        drop(request);
    }
    assert_eq!(super::json(&inspector)["summary"]["canceled_here"], 200);
}

#[tokio::test]
async fn link_foreign_page_and_bad_id_cancel_nothing() {
    let inspector = Inspector::new();
    let job = inspector.watch(&Context::background());
    let (_, snapshot) = ask_here(&inspector, "GET", "/json").await;
    let path = format!("/cancel/{}", snapshot["live"][0]["id"]);

    assert_eq!(ask_here(&inspector, "GET", &path).await.0, StatusCode::METHOD_NOT_ALLOWED);
    for (name, value) in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let post = Request::post(format!("/debug/contexts{path}")).header(name, value);
        let response = ask(&inspector, "127.0.0.1:4000", post).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        assert_eq!(
            text(response).await,
            "The inspector does not answer pages of another origin. Behind a proxy, forward the Host header.\n"
        );
    }
    for id in ["", "x", "-1", "18446744073709551616", "99999999"] {
        assert_eq!(ask_here(&inspector, "POST", &format!("/cancel/{id}")).await.0, StatusCode::NOT_FOUND, "{id}");
    }
    assert!(!job.is_done());
    let own = Request::post(format!("/debug/contexts{path}")).header("origin", "http://localhost:8080");
    assert_eq!(ask(&inspector, "127.0.0.1:4000", own).await.status(), StatusCode::OK);
    assert!(job.is_done());
}

#[tokio::test]
async fn single_entry_has_all_its_calls() {
    let inspector = Inspector::new();
    let request = Tracked::start(&inspector, &Context::background(), "GET /search");
    for _ in 0..60 {
        drop(request.ctx.start_span("call"));
    }
    let (_, snapshot) = ask_here(&inspector, "GET", "/json").await;
    assert_eq!(snapshot["live"][0]["spans"].as_array().unwrap().len(), 40);
    let path = format!("/json/{}", snapshot["live"][0]["id"]);
    for _ in 0..2 {
        let (status, one) = ask_here(&inspector, "GET", &path).await;
        assert_eq!((status, &one["name"]), (StatusCode::OK, &json!("GET /search")));
        assert_eq!((one["spans"].as_array().unwrap().len(), &one["spans_not_shown"]), (61, &json!(0)));
    }
    drop(request.answer(200));
    let (status, one) = ask_here(&inspector, "GET", &path).await;
    assert_eq!((status, &one["state"], &one["status"]), (StatusCode::OK, &json!("ended"), &json!(200)));
    assert_eq!(one["spans"].as_array().unwrap().len(), 61);
    assert_eq!(ask_here(&inspector, "GET", "/json/999").await.0, StatusCode::NOT_FOUND);
    assert_eq!(ask_here(&inspector, "GET", "/nothing").await.0, StatusCode::NOT_FOUND);
}
