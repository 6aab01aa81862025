//! Servers that die or pause, and connections that are cut.

use std::time::{Duration, Instant};

use ripcord_redis::Client;

use super::loads::{LEASE, Load};
use super::{Machine, kill, restart, run};
use crate::server::{PATIENCE, Server, client, until};

pub(crate) fn writes_during_an_outage_arrive_after_it() {
    run(async {
        let mut server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        for key in 0..3 {
            one.insert(key, 10);
            one.sync().await;
            assert_eq!(two.get_or_load(key, 0).await, 10);
        }
        kill(&mut server, &[&one, &two]);
        one.insert(0, 11);
        one.remove(1);
        assert_eq!((one.get(0), one.get(1)), (Some(11), None), "this machine sees its changes at once");
        let (ctx, cache) = (one.ctx.with_timeout(Duration::from_millis(50)), &one.cache);
        assert!(cache.sync(&ctx).await.unwrap_err().context_error().is_some(), "Redis does not have the changes");
        restart(&mut server, &[&one, &two]);
        one.sync().await;
        until("the other machine hears of the changes", || two.get(0).is_none() && two.get(1).is_none());
        assert_eq!((two.get_or_load(0, 0).await, two.get_or_load(1, 12).await), (11, 12));
        assert_eq!(two.get_or_load(2, 0).await, 10, "an unchanged value is still there");
        kill(&mut server, &[&one, &two]);
        one.cache.clear(&one.ctx).unwrap();
        restart(&mut server, &[&one, &two]);
        one.sync().await;
        until("the other machine hears of the clear", || two.cache.is_empty());
        assert_eq!(two.get_or_load(0, 13).await, 13);
    });
}

pub(crate) fn loads_during_an_outage_run_directly() {
    run(async {
        let mut server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        kill(&mut server, &[&one, &two]);
        assert_eq!((one.get_or_load(1, 10).await, two.get_or_load(1, 20).await), (10, 20));
        assert_eq!((one.loads(), one.cache.stats().second_level_unavailable), (1, 1));
        restart(&mut server, &[&one, &two]);
        assert_eq!(one.get_or_load(1, 30).await, 30);
        one.sync().await;
        assert_eq!(two.get_or_load(1, 0).await, 30, "after the outage, all machines agree");
    });
}

pub(crate) fn server_killed_during_a_load_holds_up_no_later_load() {
    run(async {
        let mut server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        let (first, second) = (Load::default(), Load::default());
        let loading = first.call(&one, &one.ctx, Ok(10));
        until("the load has started", || first.started() == 1);
        let waiting = second.call(&two, &two.ctx, Ok(20));
        until("the other machine waits", || two.cache.stats().waited == 1);
        kill(&mut server, &[&one, &two]);
        until("the waiting machine loads for itself", || second.started() == 1);
        first.finish.notify_one();
        second.finish.notify_one();
        assert_eq!((loading.await.unwrap(), waiting.await.unwrap()), (Ok(10), Ok(20)));
        restart(&mut server, &[&one, &two]);
        // The value of the first machine was not stored, since a change during the outage may have made it outdated. Its lease lasts for
        // an hour, so the other machine can load only because the lease is released after the outage.
        two.until_in_memory(1, 20).await;
        one.remove(1);
        one.sync().await;
        until("the other machine hears of the removal", || two.get(1).is_none());
        two.until_in_memory(1, 30).await;
        two.sync().await;
        assert_eq!(one.get_or_load(1, 0).await, 30);
    });
}

pub(crate) fn lease_taken_after_a_long_pause_of_the_server_holds_up_no_load() {
    run(async {
        let server = Server::start();
        let lease = Duration::from_millis(500);
        let client = Client::builder().url(server.url()).retry_every(Duration::from_millis(50)).build();
        let one = Machine::with(&client.expect("valid settings"), |level| level.lease(lease), |cache| cache);
        let two = Machine::start(&server);
        // The server knows the scripts, so it needs one command to take a lease.
        assert_eq!(one.get_or_load(2, 10).await, 10);
        one.sync().await;
        server.pause();
        // The server gets the question and does not answer.
        assert_eq!(one.get_or_load(1, 10).await, 10);
        let asked = Instant::now();
        until("a lease would have ended", || asked.elapsed() > 2 * lease);
        // The lease begins when the server continues. This command follows the question, so the lease then lasts for an hour.
        let extended = server.send(&["EXPIRE", LEASE, "3600"]).expect("the system accepts the connection");
        server.resume();
        assert_eq!(Server::answer(extended).as_deref(), Some(":1\r\n"), "the lease was taken");
        let limited = Machine { ctx: two.ctx.with_timeout(PATIENCE / 2), ..two.clone() };
        assert_eq!(limited.get_or_load(1, 20).await, 20);
    });
}

pub(crate) fn caller_returns_at_its_deadline_while_the_server_is_paused() {
    run(async {
        let server = Server::start();
        let client = Client::builder().url(server.url()).retry_every(Duration::from_millis(50)).build();
        let machine = Machine::with(&client.expect("valid settings"), |level| level, |cache| cache);
        machine.insert(1, 10);
        machine.insert(2, 10);
        machine.sync().await;
        server.pause();
        let paused = Instant::now();
        // The values in memory need no server, until the silence is noticed.
        machine.insert(1, 11);
        machine.remove(2);
        let load = Load::default();
        let start = Instant::now();
        let ctx = machine.ctx.with_timeout(Duration::from_millis(200));
        until("nothing is in memory", || machine.get(1).is_none());
        let late = load.call(&machine, &ctx, Ok(20)).await.unwrap();
        assert!(late.is_err() && start.elapsed() < Duration::from_secs(10), "{late:?} after {:?}", start.elapsed());
        // A caller without a deadline waits for at most the timeout of the client.
        assert_eq!(machine.get_or_load(3, 30).await, 30);
        until("two seconds have passed", || paused.elapsed() > Duration::from_secs(2));
        server.resume();
        machine.sync().await;
        let other = Machine::start(&server);
        assert_eq!((other.get_or_load(1, 0).await, other.get_or_load(2, 12).await), (11, 12));
    });
}

pub(crate) fn connection_cut_between_read_and_report_leaves_no_old_value() {
    run(async {
        let server = Server::start();
        let (reader, writer) = (Machine::start(&server), Machine::start(&server));
        for round in 1..=60 {
            let listeners = || server.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).matches("laddr=").count();
            until("both machines hear of changes", || listeners() == 2);
            // The reader reads all the time. Meanwhile the value changes and the connection is cut.
            let reading = {
                let reader = reader.clone();
                tokio::spawn(async move {
                    for _ in 0..200 {
                        reader.get_or_load(1, 0).await;
                    }
                })
            };
            let cut = || server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            if round % 2 == 0 {
                cut();
            }
            writer.insert(1, round);
            writer.sync().await;
            if round % 2 == 1 {
                cut();
            }
            reading.await.unwrap();
            let found = server.command(&["GET", "ripcord:cache:numbers:{1}"]);
            assert!(found.ends_with(&format!(":{round}\r\n")), "{found}");
            until("the reader has the new value or none", || reader.get(1).is_none_or(|value| value == round));
        }
        assert!(reader.cache.stats().flushes > 60, "{:?}", reader.cache.stats());
    });
}

pub(crate) fn connection_closed_because_of_a_full_output_buffer_empties_the_memory() {
    run(async {
        let server = Server::start();
        let machine = Machine::start(&server);
        machine.insert(1, 10);
        machine.sync().await;
        server.command(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 64kb 0 0"]);
        let flushes = machine.cache.stats().flushes;
        // The report of 10,000 changed keys is larger than the buffer. The server closes the connection instead of sending it.
        let script = "for i = 1, 10000 do redis.call('SET', 'ripcord:cache:numbers:{' .. i .. '}', '') end";
        server.command(&["EVAL", script, "0"]);
        until("the memory is empty", || machine.get(1).is_none() && machine.cache.stats().flushes > flushes + 1);
        assert_eq!(machine.get_or_load(1, 11).await, 11);
    });
}

pub(crate) fn values_are_kept_briefly_while_changes_are_not_heard_of() {
    run(async {
        let mut server = Server::start();
        let kept = Machine::with(
            &client(&server),
            |level| level.ttl_while_disconnected(Duration::from_millis(100)),
            |cache| cache,
        );
        let not_kept =
            Machine::with(&client(&server), |level| level.ttl_while_disconnected(Duration::ZERO), |cache| cache);
        kill(&mut server, &[&kept, &not_kept]);
        kept.insert(1, 10);
        not_kept.insert(1, 10);
        assert_eq!(not_kept.get(1), None);
        until("the value is not kept", || kept.get(1).is_none());
        for value in [20, 21] {
            assert_eq!(not_kept.get_or_load(2, value).await, value);
        }
    });
}

pub(crate) fn refused_changes_hold_up_no_load() {
    run(async {
        let server = Server::start();
        let one = Machine::start(&server);
        let limited = Machine { ctx: one.ctx.with_timeout(PATIENCE / 2), ..one.clone() };
        assert_eq!(one.get_or_load(1, 10).await, 10);
        one.sync().await;
        server.command(&["ACL", "SETUSER", "default", "-del"]);
        one.remove(1);
        assert_eq!(limited.get_or_load(1, 11).await, 11);
        server.command(&["ACL", "SETUSER", "default", "+del", "-scan"]);
        one.sync().await;
        one.cache.clear(&one.ctx).unwrap();
        assert_eq!(limited.get_or_load(1, 12).await, 12);
        server.command(&["ACL", "SETUSER", "default", "+scan"]);
        one.sync().await;
    });
}

pub(crate) fn too_many_refused_changes_become_one_clear() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        two.until_in_memory(0, 10).await;
        server.command(&["ACL", "SETUSER", "default", "-del"]);
        one.remove(1);
        // The load does not wait, so this machine knows that the server refuses changes.
        assert_eq!(one.get_or_load(1, 11).await, 11);
        (1..=10_001).for_each(|key| one.remove(key));
        until("the other machine hears of the clear", || two.get(0).is_none());
        server.command(&["ACL", "SETUSER", "default", "+del"]);
        one.sync().await;
    });
}
