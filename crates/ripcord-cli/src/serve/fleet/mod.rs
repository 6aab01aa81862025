//! The services that share a Redis, and the page that shows all of them.
//!
//! Each service reports its contexts once per second. The page of any service shows the reports of all, and cancels a request of
//! any of them: a request's context is bound to the request's ID, and a cancel of the ID reaches every service.
//!
//! | file | contents |
//! |---|---|
//! | `report.rs` | what a service reports |
//! | `page.html`, `style.css`, `script.js` | the page |

mod report;

use std::{fmt, net::IpAddr, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Path, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::{get, post},
};
use ripcord::Context;
use ripcord_http::{RequestId, inspector::Inspector};
use ripcord_redis::{Client, ContextExt as _, Hub, Member};
use serde::Serialize;

use self::report::Report;
use super::{Error, RedisOutage, RedisSettings, jobs::Jobs};
use crate::search::Sharing;

/// The time between two reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// The lifetime of a report. A service that was killed is shown until its last report ends.
const LIFETIME: Duration = Duration::from_secs(5);

/// Time limit for the removal of the report when the service ends.
pub(super) const LEAVE_TIME: Duration = Duration::from_secs(1);

/// The longest wait for Redis.
const PATIENCE: Duration = Duration::from_secs(2);

/// The page may only use its own style and script.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// This service among the services that share its Redis. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Fleet {
    client: Client,
    hub: Hub,
    members: ripcord_redis::Fleet,
    jobs: Jobs,
    /// What the limits do while Redis is unavailable.
    outage: RedisOutage,
    /// The address of this service.
    address: SocketAddr,
}

/// The cause of a cancel from the page.
#[derive(Debug)]
struct CanceledFromFleet {
    service: String,
    by: Option<IpAddr>,
}

/// What the page shows.
#[derive(Serialize)]
struct Shown {
    members: Vec<Member<Report>>,
    /// The jobs of the fleet. `None` if Redis is unavailable.
    jobs: Option<JobCounts>,
    /// The reason why only this service is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

#[derive(Serialize)]
struct JobCounts {
    waiting: u64,
    running: u64,
    delayed: u64,
    done: u64,
    dead: u64,
}

#[derive(Serialize)]
struct Canceled {
    canceled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

/// The state of the page's routes.
#[derive(Clone)]
struct Page {
    fleet: Fleet,
    inspector: Inspector,
}

impl Fleet {
    /// Connects to the Redis that the services share, in the background. `address` is the address of this service.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid. An outage of Redis is not an error.
    pub fn new(settings: &RedisSettings, address: SocketAddr) -> Result<Fleet, Error> {
        let name = settings.name.clone().unwrap_or_else(|| address.to_string());
        let client = settings.client.clone().name(name).build()?;
        let (hub, members, jobs) = (Hub::new(&client), ripcord_redis::Fleet::new(&client), Jobs::new(&client)?);
        Ok(Fleet { client, hub, members, jobs, outage: settings.outage, address })
    }

    /// Returns the queue of searches that the services share.
    pub(super) fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Returns the handle with which the policies of backends share their state over Redis.
    pub(super) fn sharing(&self) -> Sharing {
        Sharing::new(&self.client, self.outage.into())
    }

    /// Binds the context of a request to the request's ID, so that a cancel of the ID ends the request.
    pub(super) fn bind(&self, ctx: Context) -> Context {
        match ctx.value::<RequestId>() {
            Some(id) => ctx.bind(&self.hub, id.as_str()),
            None => ctx,
        }
    }

    /// Reports the contexts of `inspector` once per second until `ctx` ends.
    pub(super) async fn report(&self, ctx: &Context, inspector: &Inspector) {
        while ctx.check().is_ok() {
            let report = self.own_report(inspector);
            // The next report is sent after the outage. The page and the metrics show the outage.
            let _unavailable = self.members.publish(&ctx.with_timeout(PATIENCE), &report, LIFETIME).await;
            if ctx.sleep(INTERVAL).await.is_err() {
                break;
            }
        }
        let _unavailable = self.members.leave(&ctx.without_cancel().with_timeout(LEAVE_TIME)).await;
    }

    /// Returns the routes of the page, which the rules of the inspector protect.
    pub(super) fn router(&self, inspector: &Inspector) -> Router {
        let page = Page { fleet: self.clone(), inspector: inspector.clone() };
        let routes = Router::new()
            .route("/", get(show_page))
            .route("/style.css", get(([(header::CONTENT_TYPE, "text/css")], include_str!("style.css"))))
            .route("/script.js", get(([(header::CONTENT_TYPE, "text/javascript")], include_str!("script.js"))))
            .route("/json", get(show_json))
            .route("/cancel/{id}", post(cancel))
            .with_state(page);
        inspector.protect(routes)
    }

    fn own_report(&self, inspector: &Inspector) -> Report {
        Report::new(inspector, self.address, self.client.is_available(), self.outage)
    }
}

async fn show_page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("page.html")))
}

async fn show_json(State(page): State<Page>) -> Json<Shown> {
    let ctx = Context::background().with_timeout(PATIENCE);
    let (members, because) = match page.fleet.members.members(&ctx).await {
        Ok(members) => (members, None),
        Err(error) => {
            let name = page.fleet.client.name().to_owned();
            let own = Member { id: String::new(), name, report: page.fleet.own_report(&page.inspector) };
            (vec![own], Some(format!("only this service is shown: {error}")))
        }
    };
    let jobs = page.fleet.jobs.stats(&ctx).await.ok().map(|stats| JobCounts {
        waiting: stats.waiting,
        running: stats.running,
        delayed: stats.delayed,
        done: stats.done,
        dead: stats.dead,
    });
    Json(Shown { members, jobs, because })
}

async fn cancel(
    State(page): State<Page>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
) -> (StatusCode, Json<Canceled>) {
    let ctx = Context::background().with_timeout(PATIENCE);
    let cause = CanceledFromFleet { service: page.fleet.client.name().to_owned(), by: Some(peer.ip().to_canonical()) };
    match page.fleet.hub.cancel(&ctx, &id, cause).await {
        Ok(true) => (StatusCode::OK, Json(Canceled { canceled: true, because: None })),
        Ok(false) => refused(StatusCode::CONFLICT, "another cancel was first".to_owned()),
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

fn refused(status: StatusCode, because: String) -> (StatusCode, Json<Canceled>) {
    (status, Json(Canceled { canceled: false, because: Some(because) }))
}

impl fmt::Display for CanceledFromFleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "canceled from the fleet page of {}", self.service)?;
        self.by.map_or(Ok(()), |by| write!(f, " by {by}"))
    }
}

impl std::error::Error for CanceledFromFleet {}
