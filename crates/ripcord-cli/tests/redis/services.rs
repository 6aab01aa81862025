//! Tests two services that share a Redis.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::common::{Answer, Server, run};
use crate::server::{Server as Redis, until};

/// A backend that answers every search at once, and counts the searches.
struct Backend {
    url: String,
    searches: Arc<AtomicUsize>,
}

impl Backend {
    /// Starts a backend that answers with this status and body.
    fn start(status: &'static str, body: &'static str) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/search", listener.local_addr().expect("it is bound"));
        let searches = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&searches);
        // The thread ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let head = BufReader::new(stream.try_clone().expect("the same socket"));
                let ends_here = |line: &std::io::Result<String>| line.as_ref().is_ok_and(|line| !line.is_empty());
                if head.lines().take_while(ends_here).count() == 0 {
                    continue;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _left = stream.write_all(answer.as_bytes());
            }
        });
        Backend { url, searches }
    }

    fn searches(&self) -> usize {
        self.searches.load(Ordering::Relaxed)
    }
}

fn serve(redis: &Redis, name: &str, more: &[&str]) -> Server {
    let url = redis.url();
    Server::start(&[&["--redis", &url, "--redis-name", name], more].concat())
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn get(server: &Server, path: &str) -> Value {
    json(&server.request(path).answer())
}

/// Searches for `words`, and returns the outcome of the only backend.
fn outcome(server: &Server, words: &str) -> String {
    let answer = get(server, &format!("/search?q={words}&timeout=5s"));
    answer["backends"][0]["outcome"].as_str().unwrap_or_else(|| panic!("{answer:#}")).to_owned()
}

/// Returns the report of a service on the page of `server`.
fn report(server: &Server, name: &str) -> Option<Value> {
    let shown = get(server, "/debug/fleet/json");
    shown["members"].as_array()?.iter().find(|member| member["name"] == name).map(|member| member["report"].clone())
}

pub(crate) fn cancel_on_the_page_of_one_service_ends_a_request_of_another() {
    let redis = Redis::start();
    let (shop, mail) = (serve(&redis, "shop", &[]), serve(&redis, "mail", &[]));
    let slow = mail.request("/slow");
    let mut id = None;
    until("the page of shop shows the request of mail", || {
        id = report(&shop, "mail").and_then(|report| Some(report["live"][0]["request_id"].as_str()?.to_owned()));
        id.is_some()
    });
    let canceled = json(&shop.send("POST", &format!("/debug/fleet/cancel/{}", id.expect("it is shown"))).answer());
    assert_eq!(canceled["canceled"], true, "{canceled}");
    let answer = slow.answer();
    assert_eq!(answer.status, 503, "{answer:?}");
    let mut why = Value::Null;
    until("the page shows why", || {
        why = report(&shop, "mail").map_or(Value::Null, |report| report["ended_early"][0]["why"].clone());
        why.is_string()
    });
    let why = why.as_str().expect("a text");
    assert!(
        why.starts_with("canceled: canceled from the fleet page of shop by 127.0.0.1 (canceled by shop at "),
        "{why}"
    );
}

pub(crate) fn limit_of_a_backend_holds_for_both_services_together() {
    let (redis, backend) = (Redis::start(), Backend::start("200 OK", r#"{"hits":[]}"#));
    let limits =
        ["--backend", &backend.url, "--limiter-rate", "0.001", "--limiter-burst", "3", "--retry-attempts", "1"];
    // A Redis that is slow for a moment, on a busy machine, counts as unavailable. Then nothing is granted, but a token may be lost.
    let limits = [&limits[..], &["--redis-outage", "closed"]].concat();
    let services = [serve(&redis, "shop", &limits), serve(&redis, "mail", &limits)];
    let mut number = 0;
    let mut search = || {
        number += 1;
        outcome(&services[number % 2], &format!("words{number}")) == "ok"
    };
    let mut granted = 0;
    until("the burst is over", || {
        let now = (0..8).filter(|_| search()).count();
        granted += now;
        granted > 0 && now == 0
    });
    assert!(granted <= 3, "{granted}");
    assert_eq!(backend.searches(), granted);
}

pub(crate) fn answer_cached_by_one_service_is_used_by_the_other() {
    let (redis, backend) = (Redis::start(), Backend::start("200 OK", r#"{"hits":[]}"#));
    let (shop, mail) =
        (serve(&redis, "shop", &["--backend", &backend.url]), serve(&redis, "mail", &["--backend", &backend.url]));
    // A Redis that is slow for a moment, on a busy machine, counts as unavailable. Then each service asks the backend.
    let mut number = 0;
    until("a search of both services asks the backend once", || {
        number += 1;
        let (words, asked) = (format!("words{number}"), backend.searches());
        assert_eq!((outcome(&shop, &words), outcome(&mail, &words)), ("ok".to_owned(), "ok".to_owned()));
        backend.searches() == asked + 1
    });
}

pub(crate) fn breaker_opened_by_one_service_is_open_in_the_other() {
    let (redis, backend) = (Redis::start(), Backend::start("500 Internal Server Error", "{}"));
    let settings =
        ["--backend", &backend.url, "--breaker-failures", "2", "--retry-attempts", "1", "--hedge-after", "1h"];
    let (shop, mail) = (serve(&redis, "shop", &settings), serve(&redis, "mail", &settings));
    (0..2).for_each(|number| drop(outcome(&shop, &format!("words{number}"))));
    assert_eq!(backend.searches(), 2);
    // mail has sent nothing, so only shop can have opened its breaker.
    until("the breaker of mail opens", || {
        let metrics = mail.request("/metrics").answer().body;
        metrics.lines().any(|line| line.starts_with("ripcord_breaker_state{") && line.ends_with(" 2"))
    });
    assert_eq!((outcome(&mail, "context"), backend.searches()), ("rejected".to_owned(), 2));
}

pub(crate) fn job_is_run_by_any_service_and_counted_on_the_page() {
    let (redis, backend) = (Redis::start(), Backend::start("200 OK", r#"{"hits":[]}"#));
    let (shop, mail) =
        (serve(&redis, "shop", &["--backend", &backend.url]), serve(&redis, "mail", &["--backend", &backend.url]));
    for number in 0..5 {
        // A Redis that is slow for a moment, on a busy machine, counts as unavailable. It may have the job nevertheless.
        until("the job is submitted", || {
            let answer = shop.send("POST", &format!("/jobs?q=words{number}")).answer();
            answer.status == 202 && json(&answer)["job"].is_string()
        });
    }
    until("all jobs are done", || get(&mail, "/debug/fleet/json")["jobs"]["done"].as_u64() >= Some(5));
    assert!(backend.searches() >= 5);
    assert_eq!(shop.send("POST", "/jobs").answer().status, 400, "a job without words");
}

pub(crate) fn services_continue_without_redis_and_say_so() {
    let (mut redis, backend) = (Redis::start(), Backend::start("200 OK", r#"{"hits":[]}"#));
    let shop = serve(&redis, "shop", &["--backend", &backend.url]);
    until("the page shows the service", || report(&shop, "shop").is_some());
    let mode = || get(&shop, "/debug/contexts/json")["statuses"][0]["text"].clone();
    until("the inspector says that Redis decides", || mode() == "connected");
    redis.kill();
    until("the inspector says that the service decides", || mode() == "local");
    until("searches are answered without Redis", || outcome(&shop, "context") == "ok");
    until("the page says that Redis does not answer", || {
        let shown = get(&shop, "/debug/fleet/json");
        shown["because"].as_str().is_some_and(|because| because.starts_with("only this service is shown: "))
            && shown["members"][0]["report"]["redis"]["available"] == false
    });
    redis.restart();
    until("the inspector says that Redis decides again", || mode() == "connected");
    until("the page shows the fleet again", || get(&shop, "/debug/fleet/json")["because"].is_null());
}

pub(crate) fn invalid_redis_is_named_before_the_service_starts() {
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--redis", "redis:://user:hunter2@"]);
    assert_eq!(code, Some(2), "{log:?}");
    assert!(log.concat().contains("redis: url must be a valid URL") && !log.concat().contains("hunter2"), "{log:?}");
    let (code, _, log) = run(&["serve", "--listen", "127.0.0.1:0", "--redis-outage", "open"]);
    let line = "redis must be given with redis_name, redis_prefix and redis_outage";
    assert_eq!((code, log.concat().contains(line)), (Some(2), true), "{log:?}");
}
