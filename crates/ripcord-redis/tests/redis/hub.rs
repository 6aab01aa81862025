//! Cancellation: which contexts a cancel ends, and with which cause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ripcord::{Clock, Context, block_on};
use ripcord_redis::{Client, ClientBuilder, ContextExt, Error, Hub, RemoteCancel};

use crate::cluster::Cluster;
use crate::limiter::calls;
use crate::proxy::Proxy;
use crate::queue_faults::until_replicated;
use crate::sentinel::Watched;
use crate::server::{PATIENCE, Server, SetOnDrop, patient, until};

fn hub(url: String, name: &str) -> Hub {
    Hub::new(&patient(Client::builder().url(url).name(name)))
}

/// Creates a hub that does not wait long for a paused server.
fn impatient(builder: ClientBuilder, name: &str) -> Hub {
    let client = builder.name(name).retry_every(Duration::from_millis(50)).build();
    Hub::new(&client.expect("valid settings"))
}

/// Waits until the hub receives messages about cancels, and has read all markers.
fn settle(hub: &Hub, ctx: &Context) {
    // The hub receives its own cancel only if the server sends messages.
    until("cancels are heard", || {
        let heard = hub.stats().received;
        cancel(hub, &format!("probe:{heard}:{:?}", Instant::now()), "a probe").is_ok() && hub.stats().received > heard
    });
    until("all markers are read", || hub.stats().unread == 0);
    assert!(!ctx.is_done());
}

fn limit() -> Context {
    Context::background().with_timeout(Duration::from_secs(30))
}

fn cancel(hub: &Hub, id: &str, cause: &str) -> Result<bool, Error> {
    block_on(hub.cancel(&limit(), id, cause.to_owned()))
}

/// Cancels until Redis answers. A cancel may be lost with its answer, and may then have been the first.
fn cancel_at_last(hub: &Hub, id: &str, cause: &str) {
    until("the cancel is answered", || cancel(hub, id, cause).is_ok());
}

#[track_caller]
fn cause(ctx: &Context) -> RemoteCancel {
    let ended = ctx.wait_timeout(PATIENCE).expect("the context ends");
    ended.cause().expect("a cause").downcast_ref::<RemoteCancel>().expect("a remote cancel").clone()
}

pub(crate) fn cancel_ends_the_contexts_of_all_machines_with_cause_name_and_line() {
    let server = Server::start();
    let (one, two) = (hub(server.url(), "shop-1"), hub(server.url(), "shop-2"));
    let root = Context::background().with_name("GET /order");
    let (near, far, other) = (root.bind(&one, "order"), root.bind(&two, "order"), root.bind(&two, "other"));
    let also_far = root.bind(&two, "order");
    settle(&two, &far);
    let line = line!() + 1;
    assert!(block_on(one.cancel(&limit(), "order", "order withdrawn")).expect("Redis answers"));
    assert!(near.is_done(), "the canceler's own contexts have ended");
    for ctx in [&near, &far, &also_far] {
        let cause = cause(ctx);
        assert_eq!((cause.id(), cause.cause(), cause.canceler()), ("order", "order withdrawn", "shop-1"));
        assert!(cause.location().contains(&format!("hub.rs:{line}:")), "{cause}");
        let error = ctx.err().expect("it has ended");
        let text = format!("{error:#}");
        assert!(text.starts_with("context canceled: order withdrawn (canceled by shop-1 at "), "{text}");
        assert!(text.contains("GET /order") && error.origin().location().file().ends_with("hub.rs"), "{text}");
    }
    assert!(!other.is_done() && !root.is_done());
    assert_eq!((one.stats().won, one.stats().lost, two.stats().contexts), (1, 0, 1));
    assert!(two.stats().received >= 1, "{:?}", two.stats());
}

pub(crate) fn context_bound_after_the_cancel_ends_with_its_cause_until_the_ttl() {
    let server = Server::start();
    let one = hub(server.url(), "shop-1");
    let client = patient(Client::builder().url(server.url()).name("shop-2"));
    let short = Hub::builder(&client).ttl(Duration::from_millis(100)).build().expect("valid settings");
    cancel(&one, "long", "gone").expect("Redis answers");
    cancel(&short, "short", "gone").expect("Redis answers");
    let late = Context::background().bind(&hub(server.url(), "shop-3"), "long");
    assert_eq!(cause(&late).cause(), "gone");
    until("Redis has forgotten the cancel", || server.command(&["EXISTS", "ripcord:cancel:short"]) == ":0\r\n");
    let forgotten = Context::background().bind(&one, "short");
    settle(&one, &forgotten);
    assert!(cancel(&one, "short", "again").expect("Redis answers"), "after the time, it is the first");
    assert_eq!(cause(&forgotten).cause(), "again");
    let error = Hub::builder(&client).ttl(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.to_string(), "build: ttl must be above zero, got 0ns");
}

pub(crate) fn first_of_many_cancelers_wins_and_all_see_its_cause() {
    let server = Server::start();
    let hubs: Vec<Hub> = (0..4).map(|number| hub(server.url(), &format!("shop-{number}"))).collect();
    for round in 0..50 {
        let id = format!("order:{round}");
        let bound: Vec<Context> = hubs.iter().map(|hub| Context::background().bind(hub, &id)).collect();
        let start = std::sync::Barrier::new(hubs.len());
        let wins: Vec<bool> = std::thread::scope(|scope| {
            let cancels = hubs.iter().map(|hub| {
                let (id, start) = (&id, &start);
                scope.spawn(move || {
                    start.wait();
                    cancel(hub, id, hub.stats().sent.to_string().as_str()).expect("Redis answers")
                })
            });
            let cancels: Vec<_> = cancels.collect();
            cancels.into_iter().map(|cancel| cancel.join().expect("no panic")).collect()
        });
        assert_eq!(wins.iter().filter(|won| **won).count(), 1, "{wins:?}");
        let winner = wins.iter().position(|won| *won).expect("one has won");
        for ctx in &bound {
            assert_eq!(cause(ctx).canceler(), format!("shop-{winner}"));
        }
    }
    assert_eq!(hubs.iter().map(|hub| hub.stats().won).sum::<u64>(), 50);
    assert_eq!(hubs.iter().map(|hub| hub.stats().lost).sum::<u64>(), 150);
}

pub(crate) fn connection_cut_between_subscribe_and_read_misses_no_cancel() {
    let server = Server::start();
    let proxy = Proxy::start(server.port);
    let (near, far) = (hub(proxy.url(), "shop-1"), Arc::new(hub(server.url(), "shop-2")));
    settle(&near, &Context::background());
    // The subscription exists. The command that reads the marker cuts it, and the cancel comes while there is no connection.
    let canceler = Arc::clone(&far);
    proxy.cut_at("MGET", move || {
        assert!(cancel(&canceler, "order", "while disconnected").expect("Redis answers"));
    });
    let ctx = Context::background().bind(&near, "order");
    assert_eq!(cause(&ctx).cause(), "while disconnected");
    assert!(proxy.is_cut());
    // The same for a context whose marker was read long before the cut.
    let ctx = Context::background().bind(&near, "second");
    settle(&near, &ctx);
    proxy.cut_at("ROLE", move || {
        assert!(cancel(&far, "second", "while disconnected").expect("Redis answers"));
    });
    assert_eq!(cause(&ctx).cause(), "while disconnected");
}

pub(crate) fn connections_killed_again_and_again_miss_no_cancel() {
    let server = Server::start();
    let (near, far) = (hub(server.url(), "shop-1"), hub(server.url(), "shop-2"));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = SetOnDrop(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        for round in 0..200 {
            let id = format!("order:{round}");
            let ctx = Context::background().bind(&near, &id);
            cancel_at_last(&far, &id, "gone");
            assert_eq!(cause(&ctx).canceler(), "shop-2");
        }
    });
}

pub(crate) fn server_killed_in_the_middle_of_bind_and_cancel_misses_no_cancel() {
    let mut server = Server::start();
    let (near, far) = (hub(server.url(), "shop-1"), hub(server.url(), "shop-2"));
    for round in 0..3 {
        let id = |name: &str| format!("{name}:{round}");
        let before = Context::background().bind(&near, id("before"));
        settle(&near, &before);
        cancel(&far, &id("canceled"), "before the end").expect("Redis answers");
        server.kill();
        // Bind neither fails nor waits, and a cancel fails.
        let during = Context::background().bind(&near, id("during"));
        let late = Context::background().bind(&near, id("canceled"));
        assert!(cancel(&far, &id("before"), "during the outage").unwrap_err().is_unavailable());
        // The message of the first cancel may have arrived before the end, so `late` may have ended already.
        assert!(!during.is_done() && near.stats().unread > 0, "{:?}", near.stats());
        server.restart();
        cancel_at_last(&far, &id("before"), "after the outage");
        cancel_at_last(&far, &id("during"), "after the outage");
        assert_eq!(cause(&before).cause(), "after the outage");
        assert_eq!(cause(&during).cause(), "after the outage");
        assert_eq!(cause(&late).cause(), "before the end", "the marker has survived");
    }
}

pub(crate) fn paused_server_holds_no_call_longer_than_its_context_or_the_timeout() {
    let server = Server::start();
    let hub = |name| impatient(Client::builder().url(server.url()), name);
    let (near, far) = (hub("shop-1"), hub("shop-2"));
    let ctx = Context::background().bind(&near, "order");
    settle(&near, &ctx);
    settle(&far, &ctx);
    server.pause();
    let paused = Instant::now();
    let short = Context::background().with_timeout(Duration::from_millis(100));
    let error = block_on(far.cancel(&short, "order", "too soon")).unwrap_err();
    assert!(error.context_error().is_some() || error.is_unavailable(), "{error:#}");
    // The context of this call has 30 s left, and the server does not run. So the client's timeout has ended the call.
    assert!(cancel(&far, "order", "paused").unwrap_err().is_unavailable());
    let bound = Context::background().bind(&near, "other");
    until("the pause is over", || paused.elapsed() > Duration::from_secs(2));
    server.resume();
    cancel_at_last(&far, "other", "gone");
    cancel_at_last(&far, "order", "gone");
    // One of the cancels before may have reached the server.
    assert_eq!((cause(&ctx).canceler(), cause(&bound).canceler()), ("shop-2", "shop-2"));
}

pub(crate) fn full_output_buffer_misses_no_cancel() {
    let server = Server::start();
    server.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 65536 65536 0"]);
    let (near, far) = (hub(server.url(), "shop-1"), hub(server.url(), "shop-2"));
    let bound: Vec<Context> = (0..50).map(|number| Context::background().bind(&near, format!("{number}"))).collect();
    settle(&near, &bound[0]);
    // A message that is larger than the buffer closes the connections of all listeners.
    let flood = "x".repeat(1 << 20);
    for (number, ctx) in bound.iter().enumerate() {
        server.command(&["PUBLISH", "ripcord:events", &flood]);
        cancel_at_last(&far, &number.to_string(), "in the flood");
        assert_eq!(cause(ctx).cause(), "in the flood");
    }
    let evicted = server.command(&["INFO", "stats"]);
    let closed = evicted.lines().find_map(|line| line.strip_prefix("client_output_buffer_limit_disconnections:"));
    assert_ne!(closed.map_or("missing", str::trim), "0", "{evicted}");
}

pub(crate) fn clocks_one_minute_apart_change_nothing() {
    let server = Server::start();
    let (near, far) = (hub(server.url(), "shop-1"), hub(server.url(), "shop-2"));
    let (ahead, time) = Clock::manual();
    time.advance(Duration::from_secs(60));
    let ahead = Context::background().with_clock(ahead);
    let (behind, _time) = Clock::manual();
    let behind = Context::background().with_clock(behind);
    let bound = [ahead.bind(&near, "order"), behind.bind(&far, "order")];
    settle(&near, &bound[0]);
    settle(&far, &bound[1]);
    assert!(block_on(near.cancel(&ahead, "order", "gone")).expect("Redis answers"));
    bound.iter().for_each(|ctx| assert_eq!(cause(ctx).cause(), "gone"));
    let late = behind.bind(&far, "order");
    assert_eq!(cause(&late).cause(), "gone");
    assert!(!block_on(far.cancel(&behind, "order", "again")).expect("Redis answers"));
}

pub(crate) fn cancel_reaches_the_other_machine_without_a_read() {
    let server = Server::start();
    let (near, far) = (hub(server.url(), "shop-1"), hub(server.url(), "shop-2"));
    let bound: Vec<Context> = (0..20).map(|number| Context::background().bind(&near, format!("{number}"))).collect();
    settle(&near, &bound[0]);
    settle(&far, &bound[0]);
    let reads = || ["mget", "get"].map(|command| calls(&server, command));
    let before = reads();
    assert!(before[0] > 0, "the markers were read when the contexts were bound: {before:?}");
    for (number, ctx) in bound.iter().enumerate() {
        assert!(cancel(&far, &number.to_string(), "gone").expect("Redis answers"));
        assert_eq!(cause(ctx).canceler(), "shop-2");
    }
    assert_eq!(reads(), before);
}

pub(crate) fn cancels_survive_a_failover_of_a_cluster() {
    let mut cluster = Cluster::start();
    let hub = |name: &str| Hub::new(&patient(Client::builder().cluster(cluster.urls()).name(name)));
    let (near, far) = (hub("shop-1"), hub("shop-2"));
    // Keys of all masters, more than one command reads.
    let bound: Vec<Context> = (0..600).map(|number| Context::background().bind(&near, number.to_string())).collect();
    settle(&near, &bound[0]);
    cancel(&far, "0", "before").expect("Redis answers");
    assert_eq!(cause(&bound[0]).cause(), "before");
    let master = cluster.node(cluster.master_of("ripcord:cancel:0"));
    until_replicated(|| master.command(&["INFO", "replication"]));
    let killed = cluster.fail_over("ripcord:cancel:1");
    let during = Context::background().bind(&near, "0");
    cancel_at_last(&far, "1", "after the failover");
    cancel_at_last(&far, "2", "after the failover");
    assert_eq!(cause(&bound[1]).cause(), "after the failover");
    assert_eq!(cause(&bound[2]).cause(), "after the failover");
    assert_eq!(cause(&during).cause(), "before", "the replica has the marker");
    cluster.restart(killed);
    cluster.settle();
    cancel_at_last(&far, "3", "after the restart");
    assert_eq!(cause(&bound[3]).cause(), "after the restart");
    // Many cancels. If the connection is lost, the hub does not receive their messages but reads their markers.
    for (number, ctx) in bound.iter().enumerate().skip(4) {
        cancel_at_last(&far, &number.to_string(), "all");
        assert_eq!(cause(ctx).cause(), "all");
    }
}

pub(crate) fn hung_master_of_a_cluster_is_replaced_for_the_listener() {
    let cluster = Cluster::start();
    let key = "ripcord:cancel:order";
    let hung = cluster.master_of(key);
    // The first node that the client knows hangs.
    let mut urls = cluster.urls();
    urls.swap(0, hung);
    let hub = |name| impatient(Client::builder().cluster(&urls).timeout(Duration::from_secs(2)), name);
    let (near, far) = (hub("shop-1"), hub("shop-2"));
    let ctx = Context::background().bind(&near, "order");
    settle(&near, &ctx);
    cluster.node(hung).pause();
    cancel_at_last(&far, "order", "gone");
    assert_eq!(cause(&ctx).cause(), "gone");
    let later = Context::background().bind(&near, "later");
    settle(&near, &later);
    cluster.node(hung).resume();
}

pub(crate) fn cancels_survive_a_failover_through_sentinels() {
    let mut watched = Watched::start();
    let (near, far) = (Hub::new(&watched.client()), Hub::new(&watched.client()));
    let ctx = Context::background().bind(&near, "order");
    let other = Context::background().bind(&near, "other");
    settle(&near, &ctx);
    cancel(&far, "late", "before").expect("Redis answers");
    until_replicated(|| watched.master_info());
    watched.fail_over();
    let late = Context::background().bind(&near, "late");
    cancel_at_last(&far, "order", "after the failover");
    assert_eq!(cause(&ctx).cause(), "after the failover");
    assert_eq!(cause(&late).cause(), "before", "the replica has the marker");
    assert!(!other.is_done());
}

pub(crate) fn registration_ends_with_its_context() {
    let server = Server::start();
    let hub = hub(server.url(), "shop-1");
    let (root, root_cancel) = Context::background().with_name("GET /order").with_cancel();
    let ctx = root.bind(&hub, "order");
    let line = line!() - 1;
    let listed = hub.bound();
    assert_eq!((listed.len(), &*listed[0].id, listed[0].name.as_deref()), (1, "order", Some("GET /order")));
    assert_eq!(listed[0].location.line(), line);
    let child = ctx.with_timeout(Duration::from_secs(60)).with_name("child");
    drop(ctx);
    assert_eq!(hub.stats().contexts, 1, "a child keeps it");
    drop(child);
    assert_eq!((hub.stats().contexts, hub.stats().ids), (0, 0), "the last clone is gone");
    let ended = root.bind(&hub, "order");
    root_cancel.cancel();
    until("the end of the context has ended its registration", || hub.stats().contexts == 0);
    assert!(hub.bound().is_empty() && ended.is_done());
    assert!(root.bind(&hub, "order").is_done() && hub.stats().contexts == 0, "an ended context is not registered");
}

/// Runs in a separate process, because other tests of this process need memory too.
pub(crate) fn a_million_binds_leave_nothing_behind() {
    const ALONE: &str = "RIPCORD_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut command = std::process::Command::new(std::env::current_exe().expect("the test's own path"));
        command.args(["--exact", "hub::a_million_binds_leave_nothing_behind", "--nocapture"]).env(ALONE, "1");
        let output = command.output().expect("the test runs again");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let server = Server::start();
    let hub = hub(server.url(), "shop-1");
    settle(&hub, &Context::background());
    let root = Context::background();
    let mut before = 0;
    for number in 0..1_000_000 {
        drop(root.bind(&hub, format!("order:{number}")));
        if number == 100_000 {
            before = resident();
        }
    }
    until("nothing is registered", || hub.stats().contexts == 0 && hub.stats().unread == 0);
    let grown = resident().saturating_sub(before);
    assert!(grown < 20 << 20, "{grown} bytes");
    // Chains are dropped without recursion.
    let chain = (0..100_000).fold(root, |ctx, number| ctx.bind(&hub, format!("order:{number}")));
    assert_eq!(hub.stats().contexts, 100_000);
    drop(chain);
    assert_eq!(hub.stats().contexts, 0);
}

/// Returns the memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    status.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4096
}

pub(crate) fn invalid_id_is_refused_and_named() {
    let server = Server::start();
    let hub = hub(server.url(), "shop-1");
    for id in [String::new(), "x".repeat(257)] {
        let error = cancel(&hub, &id, "gone").unwrap_err();
        assert_eq!(error.to_string(), format!("cancel: id must be from 1 to 256 bytes, got {}", id.len()));
        assert!(!Context::background().bind(&hub, &id).is_done());
    }
    assert_eq!((hub.stats().invalid_ids, hub.stats().contexts, hub.stats().sent), (2, 0, 0));
    let longest = "x".repeat(256);
    let ctx = Context::background().bind(&hub, &longest);
    assert!(cancel(&hub, &longest, "line\nbreak").expect("Redis answers"));
    assert!(cause(&ctx).to_string().starts_with("line\\nbreak (canceled by shop-1 at "));
}

pub(crate) fn ended_context_cancels_nothing() {
    let server = Server::start();
    let hub = hub(server.url(), "shop-1");
    let ctx = Context::background().bind(&hub, "order");
    let over = Context::background().with_timeout(Duration::ZERO);
    let error = block_on(hub.cancel(&over, "order", "gone")).unwrap_err();
    assert!(error.context_error().is_some_and(ripcord::Error::is_deadline_exceeded), "{error:#}");
    settle(&hub, &ctx);
    assert_eq!(server.command(&["EXISTS", "ripcord:cancel:order"]), ":0\r\n");
}

pub(crate) fn messages_of_others_change_nothing() {
    let server = Server::start();
    let hub = hub(server.url(), "shop-1");
    let ctx = Context::background().bind(&hub, "order");
    settle(&hub, &ctx);
    for message in ["", "{}", "[", "{\"kind\":\"cancel\",\"id\":7}", "{\"kind\":\"limit\",\"id\":\"order\"}"] {
        server.command(&["PUBLISH", "ripcord:events", message]);
    }
    server.command(&["SET", "ripcord:cancel:other", "no JSON"]);
    let other = Context::background().bind(&hub, "other");
    settle(&hub, &ctx);
    assert!(!other.is_done());
    assert!(cancel(&hub, "order", "gone").expect("Redis answers"));
}
