//! Helper: the service in-process, on a manual clock.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt as _;
use ripcord::{Canceler, Clock, Context, ManualTime, Shutdown, TaskGuard};
use ripcord_cli::{
    search::{self, Policies, Search},
    serve::{self, Recorder, Service, Settings},
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use super::backend::Backend;

/// A service that uses the backends of a test.
pub(crate) struct TestService {
    pub(crate) app: Router,
    pub(crate) time: ManualTime,
    /// Cancels all requests, like the end of the grace.
    pub(crate) cancel: Canceler,
    /// Begins the shutdown, like a signal.
    pub(crate) shutdown: Shutdown,
    /// The context of the service, the parent of the contexts of requests.
    pub(crate) server: Context,
    pub(crate) search: Search,
    /// Keeps the drain open.
    _in_flight: TaskGuard,
    settings: Settings,
}

/// An answer of the service that was read completely.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl TestService {
    /// Creates a service without a hedge and with one attempt, which is enough for most tests.
    pub(crate) fn new(backends: &[&Backend]) -> TestService {
        TestService::with(backends, |_| {})
    }

    pub(crate) fn with(backends: &[&Backend], change: impl FnOnce(&mut Policies)) -> TestService {
        let (clock, time) = Clock::manual();
        TestService::on(&Context::background().with_clock(clock), time, backends, change)
    }

    /// Creates a service on the system's clock, for short waits of the service whose start a test cannot detect.
    pub(crate) fn in_real_time(backends: &[&Backend], change: impl FnOnce(&mut Policies)) -> TestService {
        let (_, time) = Clock::manual();
        TestService::on(&Context::background(), time, backends, change)
    }

    fn on(ctx: &Context, time: ManualTime, backends: &[&Backend], change: impl FnOnce(&mut Policies)) -> TestService {
        let (root, cancel) = ctx.with_name("serve").with_cancel();
        let shutdown = Shutdown::builder().context(&root).build();
        let server = shutdown.context().clone();
        let mut settings = Settings::default();
        settings.policies.hedge_after = None;
        settings.policies.retry_attempts = 1;
        settings.policies.attempt_timeout = Duration::from_secs(60);
        change(&mut settings.policies);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let asked = backends.iter().map(|backend| {
            let url = backend.url.parse().expect("a URL");
            search::Backend::new(&server, backend.name(), url, &client, &settings.policies, None)
                .expect("within bounds")
        });
        let search = Search::new(asked).expect("each once");
        let inspector = serve::inspector(&settings, &shutdown).expect("valid settings");
        let app = Service::new(&shutdown, &settings, search.clone(), Recorder::install(), inspector, None).app();
        let _in_flight = server.task_guard();
        TestService { app, time, cancel, shutdown, server, _in_flight, settings, search }
    }

    /// Returns the service with a network of trusted peers.
    pub(crate) fn trusting(mut self, network: &str) -> TestService {
        self.settings.trusted_peers.push(network.parse().expect("a network"));
        let inspector = serve::inspector(&self.settings, &self.shutdown).expect("valid settings");
        self.app =
            Service::new(&self.shutdown, &self.settings, self.search.clone(), Recorder::install(), inspector, None)
                .app();
        self
    }

    /// Sends a request in a new task. Aborting the task disconnects the client.
    pub(crate) fn get(&self, path: &str) -> JoinHandle<Answer> {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> JoinHandle<Answer> {
        self.get_from(None, path, headers)
    }

    /// Sends a request as over a connection from `peer`.
    pub(crate) fn get_from(&self, peer: Option<&str>, path: &str, headers: &[(&str, &str)]) -> JoinHandle<Answer> {
        let mut request = Request::get(path);
        if let Some(peer) = peer {
            request = request.extension(ConnectInfo::<SocketAddr>(peer.parse().expect("an address")));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a path");
        let app = self.app.clone();
        tokio::spawn(async move {
            let response = app.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let body = String::from_utf8(body.into()).expect("text");
            Answer { status: parts.status, headers: parts.headers, body }
        })
    }

    /// Waits until the metrics have this line.
    #[track_caller]
    pub(crate) fn counted(&self, line: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let started = std::time::Instant::now();
            loop {
                let text = self.get("/metrics").await.expect("no panic").body;
                if text.lines().any(|counted| counted == line) {
                    return;
                }
                assert!(started.elapsed() < super::backend::PATIENCE, "no {line:?} at {place}:\n{text}");
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().expect("text")
    }
}

/// Returns the report about a backend in the answer.
#[track_caller]
pub(crate) fn report<'a>(answer: &'a Value, backend: &Backend) -> &'a Value {
    let reports = answer["backends"].as_array().expect("a list");
    let found = reports.iter().find(|report| report["name"] == backend.name());
    found.unwrap_or_else(|| panic!("no {}: {answer:#}", backend.name()))
}

pub(crate) fn titles(answer: &Value) -> Vec<&str> {
    answer["hits"].as_array().expect("a list").iter().map(|hit| hit["title"].as_str().expect("text")).collect()
}
