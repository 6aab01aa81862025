//! Three backends to search, for when none are given: small HTTP servers on loopback ports, in this process.
//!
//! | name | holds | how it behaves |
//! |---|---|---|
//! | `fast` | Go's names, and what they are here | answers at once |
//! | `slow` | what a Context is for | takes a second and a half |
//! | `flaky` | the policies around a call | of every four requests, fails the first and stalls at the third |
//!
//! They know nothing of who asks: the time they have, the request's id and its trace come by header, and that the asker
//! has gone comes from its connection. So they stand for services on other machines.
//!
//! | file | holds |
//! |---|---|
//! | `documents.tsv` | what there is to be found |
//! | `store.rs` | full-text search in SQLite, under a Context |
//! | `service.rs` | a backend's server |

mod service;
mod store;

use std::{io, net::Ipv4Addr};

use reqwest::Url;
use ripcord::{Canceler, Context};
use tokio::task::JoinSet;

pub use self::store::Hit;
use self::{
    service::{Manner, app},
    store::Store,
};
use crate::connections::{Acceptor, listen};

/// The backends that were started. Dropping it stops them, in the middle of what they do.
#[derive(Debug)]
pub struct Backends {
    started: Vec<Started>,
    // Above the tasks: what they serve is told before they are dropped.
    _cancel: Canceler,
    _tasks: JoinSet<()>,
}

/// A backend that was started.
#[derive(Debug)]
#[non_exhaustive]
pub struct Started {
    /// Its name.
    pub name: &'static str,
    /// Where to search.
    pub url: Url,
    manner: Manner,
}

impl Backends {
    /// Starts all three on free ports.
    ///
    /// They go by the clock of `ctx` and end with it. Call it inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is no port to be had, or SQLite cannot be set up.
    pub async fn start(ctx: &Context) -> io::Result<Backends> {
        let (ctx, cancel) = ctx.with_name("backends").with_cancel();
        let (mut started, mut tasks) = (Vec::new(), JoinSet::new());
        for (name, manner) in [("fast", Manner::Fast), ("slow", Manner::Slow), ("flaky", Manner::Flaky)] {
            let listener = listen((Ipv4Addr::LOCALHOST, 0)).await?;
            let url = format!("http://{}/search", listener.local_addr()?).parse().expect("an address makes a URL");
            started.push(Started { name, url, manner });
            let ctx = ctx.with_name(name);
            let acceptor = Acceptor::new(app(&ctx, manner, Store::open(&ctx, name)?));
            tasks.spawn(async move {
                acceptor.accept(&listener, &ctx).await.finished().await;
            });
        }
        Ok(Backends { started, _cancel: cancel, _tasks: tasks })
    }

    /// All of them.
    pub fn all(&self) -> &[Started] {
        &self.started
    }
}

impl Started {
    /// Whether it is slow every time, so that asking it again for that does not help.
    pub fn is_always_slow(&self) -> bool {
        self.manner == Manner::Slow
    }
}
