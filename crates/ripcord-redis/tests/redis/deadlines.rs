//! Deadlines of callers that are far shorter than the timeout of the client.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use ripcord::Context;
use ripcord_redis::{Client, Fleet, Hub, OnOutage, Queue};

use crate::cache::Machine;
use crate::limiter::{SLOW, limiter};
use crate::queue_setup::{Numbers, block_on, until};
use crate::server::{PATIENCE, Server};

/// A call with a context whose deadline is near. It returns whether the call has returned the deadline as an error.
type Call<'a> = (&'static str, Pin<Box<dyn Future<Output = bool> + 'a>>);

macro_rules! call {
    ($ctx:ident => $call:expr) => {{
        let call: Call<'_> = (
            stringify!($call),
            Box::pin(async {
                let $ctx = Context::background().with_timeout(Duration::from_millis(200));
                let error = $call.await.err();
                let end = error.as_ref().and_then(|error| error.context_error());
                end.is_some_and(|end| end.is_deadline_exceeded())
            }),
        );
        call
    }};
}

pub(crate) fn paused_server_holds_no_call_past_its_deadline_although_the_timeout_is_long() {
    block_on(async {
        let server = Server::start();
        let client = Client::builder().url(server.url()).timeout(PATIENCE).build().expect("valid settings");
        let queue: Numbers = Queue::builder("numbers").client(&client).build().expect("valid settings");
        let (hub, fleet) = (Hub::new(&client), Fleet::new(&client));
        let (limiter, _) = limiter(&client, SLOW, 100, OnOutage::Closed);
        let cache = Machine::with(&client, |level| level, |cache| cache).cache;
        let background = Context::background();
        // All connections exist and all scripts are known before the pause.
        let id = queue.submit(&background, 1).await.expect("a server");
        let ids = [id];
        limiter.wait(&background).await.expect("a token");
        hub.cancel(&background, "first", "a probe").await.expect("a server");
        fleet.publish(&background, &1, PATIENCE).await.expect("a server");
        server.pause();
        cache.insert(&background, 1, 1).expect("an open cache");
        let load = |_| async { Ok::<_, io::Error>(1) };
        let calls = [
            call!(ctx => limiter.wait(&ctx)),
            call!(ctx => limiter.wait_n(&ctx, 2)),
            call!(ctx => cache.get_or_load(&ctx, 2, load)),
            call!(ctx => cache.run(&ctx, 3, load)),
            call!(ctx => cache.sync(&ctx)),
            call!(ctx => hub.cancel(&ctx, "order", "gone")),
            call!(ctx => fleet.publish(&ctx, &2, PATIENCE)),
            call!(ctx => fleet.members::<u32>(&ctx)),
            call!(ctx => fleet.leave(&ctx)),
            call!(ctx => queue.submit(&ctx, 2)),
            call!(ctx => queue.submit_with_key(&ctx, "three", 3)),
            call!(ctx => queue.submit_all(&ctx, [4, 5])),
            call!(ctx => queue.job(6).delay(PATIENCE).submit(&ctx)),
            call!(ctx => queue.cancel(&ctx, id, "gone")),
            call!(ctx => queue.stats(&ctx)),
            call!(ctx => queue.list(&ctx, 10)),
            call!(ctx => queue.dead_letters(&ctx, 10)),
            call!(ctx => queue.resend(&ctx, &ids)),
            call!(ctx => queue.resend_all(&ctx)),
            call!(ctx => queue.delete(&ctx, &ids)),
            call!(ctx => queue.delete_all(&ctx)),
        ];
        let mut failed = Vec::new();
        for (name, call) in calls {
            // The limit is far above the deadline and far below the timeout.
            match tokio::time::timeout(Duration::from_secs(10), call).await {
                Ok(true) => {}
                Ok(false) => failed.push(format!("{name} returns something else")),
                Err(_) => failed.push(format!("{name} hangs")),
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
        server.resume();
        let is_back = || async { queue.stats(&background).await.is_ok() && limiter.allow() };
        until("the server is back", is_back).await;
    });
}
