//! Tests grpcio as the client of the example `echo_server`.

use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use ripcord::Context;
use ripcord_grpc::{ServerLayer, server};
use ripcord_http::TrustPolicy;
use ripcord_http::server::ContextLayer;
use tonic::service::Routes;
use tower::Layer as _;

use crate::echo::Echo;
use crate::generated::echo_server::EchoServer;
use crate::processes::{Process, Python, echo_server};

/// Ends the server in order. Returns `(method, end, spawned)` for every call.
#[track_caller]
fn ends(process: Process) -> Vec<(String, String, Option<String>)> {
    process.terminate();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let ends = process.wait().into_iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        assert!(line["took_ms"].is_u64() && line["cause"].is_string(), "{line}");
        assert_eq!(line["cause"] == "", line["end"] == "ok", "{line}");
        let method = text(&line["method"]).expect("a name");
        (method, text(&line["end"]).expect("an end"), text(&line["spawned"]))
    });
    ends.collect()
}

const KINDS: [&str; 4] = ["Unary", "ServerStream", "ClientStream", "Bidi"];

/// Returns the expected ends of one call of each kind.
fn of_each_kind(end: &str, spawned: Option<&str>) -> Vec<(String, String, Option<String>)> {
    KINDS.map(|kind| (kind.to_owned(), end.to_owned(), spawned.map(str::to_owned))).to_vec()
}

pub(crate) fn all_four_kinds(python: &Python) {
    let (server, address) = echo_server(&[]);
    python.client(address, &["kinds"]);
    let ends = ends(server);
    assert_eq!(ends.len(), 8);
    assert!(ends.iter().all(|(_, end, _)| end == "ok"), "{ends:?}");
    assert_eq!(ends[0].2.as_deref(), Some("ok"), "its spawned task has ended");
}

pub(crate) fn deadlines(python: &Python) {
    let (server, address) = echo_server(&[]);
    python.client(address, &["deadlines"]);
    let ends = ends(server);
    assert_eq!(ends.iter().map(|(kind, ..)| kind.as_str()).collect::<Vec<_>>(), [KINDS, KINDS].concat());
    for (kind, end, spawned) in ends {
        // The client's deadline passes at the same moment. The client's reset may arrive before the server's timer fires.
        assert!(["deadline_exceeded", "canceled"].contains(&end.as_str()), "{kind}: {end}");
        assert_eq!(spawned, Some(end), "{kind}");
    }
}

pub(crate) fn cancels(python: &Python) {
    let (server, address) = echo_server(&[]);
    python.client(address, &["cancels"]);
    assert_eq!(ends(server), of_each_kind("canceled", Some("canceled")));
}

pub(crate) fn identity(python: &Python) {
    let (_server, address) = echo_server(&[]);
    python.client(address, &["identity"]);
}

pub(crate) fn statuses(python: &Python) {
    let (server, address) = echo_server(&[]);
    python.client(address, &["statuses"]);
    assert_eq!(ends(server), of_each_kind("failed", None));
}

pub(crate) fn unreachable(python: &Python) {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (server, address) = echo_server(&["--upstream", &format!("http://{closed}")]);
    python.client(address, &["unreachable"]);
    assert_eq!(ends(server), of_each_kind("failed", None));
}

#[expect(clippy::print_stdout, reason = "a failure can be repeated only with the seed")]
pub(crate) fn random_cancels(python: &Python) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_nanos().to_string();
    println!("seed {seed}");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (root, tasks) = Context::background().with_name("server").with_tasks();
    let http = ContextLayer::new(&root).trust(TrustPolicy::trusted()).name(server::method);
    let stats = http.clone();
    let address = runtime.block_on(async {
        let listener = ripcord_http::listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let routes = Routes::new(EchoServer::new(Echo::new(None)));
        tokio::spawn(ripcord_http::serve(listener, ServerLayer::new(http).layer(routes)).into_future());
        address
    });
    python.client(address, &["random_cancels", &seed]);
    // The client has closed its connection.
    let all = stats.stats().requests;
    assert!(all > 0);
    runtime.block_on(async {
        tasks
            .wait(&Context::background().with_timeout(std::time::Duration::from_secs(30)))
            .await
            .expect("no task is left");
        let closed = async {
            while stats.stats().held > 0 {
                tokio::task::yield_now().await;
            }
        };
        let patience = Context::background().with_timeout(std::time::Duration::from_secs(30));
        patience.run(closed).await.expect("no context is held");
    });
    let stats = stats.stats();
    assert_eq!((stats.in_flight, stats.held, stats.panicked), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.requests, all);
    let ended_early = stats.disconnected + stats.timed_out;
    assert!(ended_early > 0, "some are canceled: {stats:?}");
}

pub(crate) fn drain(python: &Python) {
    let (server, address) = echo_server(&[]);
    let client = python.started_client(address, "drain");
    let ends = ends(server);
    client.wait();
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends.iter().all(|(_, end, _)| end == "ok"), "{ends:?}");
}
