//! Tests the answers, and the requests to the backends.

use axum::http::StatusCode;

use super::{
    backend::Backend,
    service::{TestService, report, titles},
};

#[tokio::test]
async fn complete_search_has_the_hits_of_all_backends() {
    let (mut one, mut other) = (Backend::start().await, Backend::start().await);
    let service = TestService::new(&[&one, &other]);
    let searching = service.get("/search?q=a+b%26c&timeout=2s");

    let (first, second) = (one.arrival().await, other.arrival().await);
    assert_eq!(first.query, "q=a+b%26c");
    second.find("second");
    first.find("first");

    let answer = searching.await.expect("no panic");
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let json = answer.json();
    assert_eq!((&json["query"], &json["complete"]), (&"a b&c".into(), &true.into()));
    assert_eq!(json["request_id"], answer.header("x-request-id"));
    assert_eq!(json["timeout_ms"], 2000.0);
    assert_eq!(titles(&json), ["first", "second"], "in the order of the backends, not of their answers");
    for backend in [&one, &other] {
        let report = report(&json, backend);
        assert_eq!((&report["outcome"], &report["cache"]), (&"ok".into(), &"miss".into()));
        assert_eq!((&report["requests"], &report["hits"]), (&1.into(), &1.into()));
    }

    let names: Vec<_> = json["trace"].as_array().expect("a list").iter().map(|line| &line["name"]).collect();
    assert_eq!(names[0], "search");
    for backend in [&one, &other] {
        assert!(names.contains(&&format!("backend {}", backend.name()).into()), "{names:?}");
        assert!(names.contains(&&format!("request 1 to {}", backend.name()).into()), "{names:?}");
    }
}

#[tokio::test]
async fn backend_gets_the_request_id_and_the_time_left() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    let searching = service.get("/search?q=a&timeout=1500");

    let arrival = backend.arrival().await;
    assert_eq!(arrival.header("x-request-timeout-ms"), "1500", "the clock stands still");
    let id = arrival.header("x-request-id").to_owned();
    arrival.find("it");
    assert_eq!(searching.await.expect("no panic").header("x-request-id"), id);

    // The shorter limit of the server counts.
    let searching = service.get("/search?q=b&timeout=1h");
    let arrival = backend.arrival().await;
    assert_eq!(arrival.header("x-request-timeout-ms"), "5000");
    arrival.find("it");
    assert_eq!(searching.await.expect("no panic").json()["timeout_ms"], 5000.0);
}

#[tokio::test]
async fn answer_that_is_not_a_list_of_hits_is_a_failure() {
    let too_long = format!("{{\"hits\":[],\"padding\":\"{}\"}}", "x".repeat(1 << 20));
    let cases = [
        (StatusCode::NOT_FOUND, "gone".to_owned(), "answered with status 404"),
        (StatusCode::INTERNAL_SERVER_ERROR, String::new(), "answered with status 500"),
        (StatusCode::OK, "<html>".to_owned(), "the answer is not a list of hits: expected value at line 1 column 1"),
        (StatusCode::OK, "{}".to_owned(), "the answer is not a list of hits: missing field `hits`"),
        (StatusCode::OK, too_long, "the answer is not a list of hits: more than 1048576 bytes"),
    ];
    for (status, body, expected) in cases {
        let mut backend = Backend::start().await;
        let service = TestService::new(&[&backend]);
        let searching = service.get("/search?q=a");
        backend.arrival().await.answer((status, body));

        let answer = searching.await.expect("no panic");
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
        let json = answer.json();
        let report = report(&json, &backend);
        assert_eq!((&report["outcome"], &report["requests"]), (&"failed".into(), &1.into()));
        let error = report["error"].as_str().expect("text");
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn unreachable_backend_is_a_failure() {
    let (mut there, gone) = (Backend::start().await, Backend::unreachable());
    let service = TestService::new(&[&there, &gone]);

    let searching = service.get("/search?q=a");
    there.arrival().await.find("it");
    let answer = searching.await.expect("no panic");
    assert_eq!(answer.status, StatusCode::OK);
    let json = answer.json();
    assert_eq!((&json["complete"], titles(&json)), (&false.into(), vec!["it"]));
    let report =
        json["backends"].as_array().expect("a list").iter().find(|report| report["name"] == gone.name()).expect("it");
    assert_eq!(report["outcome"], "failed");
    assert!(report["error"].as_str().expect("text").contains("refused"), "{report}");
}

#[tokio::test]
async fn invalid_query_is_400_and_sends_no_request_to_a_backend() {
    let backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    let long = format!("/search?q={}", "x".repeat(201));
    let cases = [
        ("/search", "q: expected 1 to 200 characters to search for, got 0"),
        ("/search?q=%20", "q: expected 1 to 200 characters to search for, got 0"),
        (&long, "q: expected 1 to 200 characters to search for, got 201"),
        (
            "/search?q=a&timeout=soon",
            "timeout: expected more than zero, as in 500ms or 2s, or 500 for milliseconds, got \"soon\"",
        ),
        (
            "/search?q=a&timeout=0",
            "timeout: expected more than zero, as in 500ms or 2s, or 500 for milliseconds, got \"0\"",
        ),
        ("/search?q=%zz", "malformed query: a % without two hex digits after it"),
        ("/search?q=%ff", "malformed query: not UTF-8 after decoding"),
        ("/search?q=a&limit=3", "unknown parameter \"limit\": expected q or timeout"),
    ];
    for (path, expected) in cases {
        let answer = service.get(path).await.expect("no panic");
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::BAD_REQUEST, expected), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    assert!(!backend.has_arrivals());
}

#[tokio::test]
async fn browser_gets_a_page() {
    let mut backend = Backend::start().await;
    let service = TestService::new(&[&backend]);
    let html = [("accept", "text/html,*/*;q=0.8")];
    let searching = service.get_with("/search?q=%3Cscript%3E", &html);
    backend.arrival().await.find("<b>bold</b>");

    let answer = searching.await.expect("no panic");
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(!answer.body.contains("<script>") && !answer.body.contains("<b>bold"), "{}", answer.body);
    assert!(answer.body.contains("&lt;b&gt;bold&lt;/b&gt;"), "{}", answer.body);

    let index = service.get_with("/", &html).await.expect("no panic");
    assert_eq!((index.status, index.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(index.body.contains("action=\"/search\""));
    for page in [&answer.body, &index.body] {
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing from elsewhere: {page}");
    }
}
