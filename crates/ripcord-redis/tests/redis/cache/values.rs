//! Values that move between machines.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ripcord::{Clock, Context};
use ripcord_policy::Cache;
use ripcord_policy::cache::Source;
use ripcord_redis::{CacheLevel, Client};

use super::{LONG, Machine, run};
use crate::server::{Server, client, until};

pub(crate) fn value_of_one_machine_is_found_by_another() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        one.insert(1, 10);
        one.sync().await;
        let found = two.run(1, 0).await;
        assert_eq!((found.value, found.source), (10, Source::SecondLevel));
        two.until_in_memory(1, 0).await;
        assert_eq!((two.cache.stats().calls.started, two.loads()), (0, 0));
        assert!(server.command(&["GET", "ripcord:cache:numbers:{1}"]).ends_with(":10000:10\r\n"));
    });
}

pub(crate) fn changed_values_leave_the_memory_of_other_machines() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        for key in 0..3 {
            one.insert(key, 10);
            one.sync().await;
            assert_eq!(two.get_or_load(key, 0).await, 10);
        }
        one.insert(0, 11);
        until("the insert is heard of", || two.get(0).is_none());
        one.sync().await;
        assert_eq!(two.get_or_load(0, 0).await, 11);
        one.remove(1);
        until("the removal is heard of", || two.get(1).is_none());
        one.sync().await;
        assert_eq!(two.get_or_load(1, 12).await, 12);
        one.cache.clear(&one.ctx).unwrap();
        until("the clear is heard of", || two.cache.is_empty());
        one.sync().await;
        assert_eq!(two.get_or_load(2, 13).await, 13);
        assert!(two.cache.stats().invalidated >= 2, "{:?}", two.cache.stats());
    });
}

pub(crate) fn own_writes_stay_in_memory() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        for key in 0..50 {
            one.insert(key, 1);
            one.insert(key, 2);
            assert_eq!(one.get_or_load(100 + key, 3).await, 3);
        }
        one.sync().await;
        // The server reports this write to the other machine after it has sent all reports to the first machine.
        two.get_or_load(49, 0).await;
        for key in 0..50 {
            assert_eq!((one.get(key), one.get(100 + key)), (Some(2), Some(3)), "key {key}");
        }
        assert_eq!(two.get_or_load(0, 0).await, 2);
    });
}

pub(crate) fn removal_of_a_key_that_redis_lacks_reaches_other_machines() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        // The server refuses to store anything.
        server.command(&["CONFIG", "SET", "maxmemory", "1"]);
        assert_eq!(two.get_or_load(1, 10).await, 10);
        two.insert(2, 10);
        until("the insert is refused", || two.cache.stats().failed_writes == 1);
        two.sync().await;
        let stored = server.command(&["KEYS", "ripcord:cache:*"]);
        assert_eq!((two.get(1), &*stored), (Some(10), "*0\r\n"));
        server.command(&["CONFIG", "SET", "maxmemory", "0"]);
        one.remove(1);
        until("the removal is heard of", || two.get(1).is_none());
    });
}

pub(crate) fn value_keeps_the_time_that_is_left() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        one.cache.insert_with_ttl(&one.ctx, 1, 10, Duration::from_secs(3)).unwrap();
        one.cache.insert_with_ttl(&one.ctx, 2, 10, Duration::ZERO).unwrap();
        one.sync().await;
        assert_eq!(two.get_or_load(1, 0).await, 10);
        // The other machine's own TTL is an hour.
        until("the value expires", || two.get(1).is_none());
        // In memory, the duration of the round trip counts too, so Redis may still have the value for a moment.
        while two.get_or_load(1, 11).await == 10 {}
        assert_eq!((two.get(1), two.loads()), (Some(11), 1), "Redis does not return the expired value");
        assert_eq!(two.get_or_load(2, 12).await, 12, "a TTL of zero is a removal");
    });
}

pub(crate) fn client_clocks_one_minute_apart_change_nothing_for_a_cache() {
    run(async {
        let server = Server::start();
        let (ahead, time) = Clock::manual();
        time.advance(Duration::from_secs(60));
        let (behind, _time) = Clock::manual();
        let start = |clock: Clock| {
            // The TTL is shorter than the difference of the clocks.
            let ttl = Duration::from_secs(30);
            let machine = Machine::with(&client(&server), |level| level, |cache| cache.ttl(ttl).clock(clock.clone()));
            Machine { ctx: machine.ctx.with_clock(clock), ..machine }
        };
        let machines = [start(ahead), start(behind)];
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to, key) = (&machines[from], &machines[to], 1 + to as u32);
            from.insert(key, 10);
            from.sync().await;
            to.until_in_memory(key, 0).await;
            assert_eq!((from.get(key), to.get(key)), (Some(10), Some(10)));
            from.remove(key);
            from.sync().await;
            until("the other machine hears of the removal", || to.get(key).is_none());
            to.until_in_memory(key, 20).await;
            to.sync().await;
            let loads = from.loads();
            assert_eq!((from.get_or_load(key, 0).await, from.loads()), (20, loads), "the value of the other machine");
        }
    });
}

pub(crate) fn expired_value_is_loaded_once_although_the_server_removes_it() {
    run(async {
        let server = Server::start();
        let machine = Machine::start(&server);
        for round in 0..20 {
            machine.cache.insert_with_ttl(&machine.ctx, 1, round, Duration::from_millis(5)).unwrap();
            until("the value expires", || machine.get(1).is_none());
            // Redis may still have the value for a moment.
            while machine.get_or_load(1, 100 + round).await == round {}
            assert_eq!(machine.get_or_load(1, 0).await, 100 + round);
        }
        assert_eq!(machine.loads(), 20);
    });
}

pub(crate) fn stale_value_outlives_its_ttl_in_memory_only() {
    run(async {
        let server = Server::start();
        let stale = || Machine::with(&client(&server), |level| level, |cache| cache.stale_for(LONG));
        let (one, two) = (stale(), stale());
        one.cache.insert_with_ttl(&one.ctx, 1, 10, Duration::from_millis(5)).unwrap();
        one.sync().await;
        until("the value expires", || {
            let found = one.get(1);
            assert_eq!(found, Some(10));
            one.cache.stats().stale_hits > 0
        });
        // Redis keeps an expired value for ten seconds, and for the time in which it may be used.
        until("the value expires in Redis", || {
            let left = server.command(&["PTTL", "ripcord:cache:numbers:{1}"]);
            let left: u128 = left.trim_start_matches(':').trim().parse().expect("a number");
            left <= (LONG + Duration::from_secs(10)).as_millis()
        });
        assert_eq!(two.run(1, 11).await.source, Source::Loaded);
        until("the new value is heard of", || one.get(1).is_none());
    });
}

pub(crate) fn value_of_another_type_is_loaded_again() {
    run(async {
        let server = Server::start();
        let machine = Machine::start(&server);
        let level = CacheLevel::builder(&client(&server), "numbers").build().unwrap();
        let ctx = Context::background();
        let texts: Cache<u32, String> = Cache::builder().capacity(10).second_level(level).build(&ctx).unwrap();
        texts.insert(&ctx, 1, "text".to_owned()).unwrap();
        texts.sync(&ctx).await.unwrap();
        // If the report of the text comes during the load, the loaded value is not stored, and the next call loads again.
        let start = std::time::Instant::now();
        while !server.command(&["GET", "ripcord:cache:numbers:{1}"]).contains(":10") {
            assert!(start.elapsed() < crate::server::PATIENCE, "the new value is stored");
            assert_eq!(machine.get_or_load(1, 10).await, 10);
        }
    });
}

pub(crate) fn emptied_database_empties_the_memory() {
    run(async {
        let server = Server::start();
        let machine = Machine::start(&server);
        assert_eq!(machine.get_or_load(1, 10).await, 10);
        machine.sync().await;
        server.command(&["FLUSHALL"]);
        until("the flush is heard of", || machine.get(1).is_none());
        assert_eq!(machine.get_or_load(1, 11).await, 11);
    });
}

pub(crate) fn refresh_loads_although_redis_has_a_value() {
    run(async {
        let server = Server::start();
        let (one, two) = (Machine::start(&server), Machine::start(&server));
        one.insert(1, 10);
        one.sync().await;
        assert_eq!(two.get_or_load(1, 0).await, 10);
        let loads = two.loads.clone();
        let load = move |_| async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok::<_, io::Error>(11)
        };
        assert_eq!(two.cache.refresh(&two.ctx, 1, load).await.unwrap(), 11);
        until("the new value is heard of", || one.get(1).is_none());
        two.sync().await;
        assert_eq!((one.get_or_load(1, 0).await, two.loads()), (11, 1));
    });
}

pub(crate) fn error_of_a_load_stays_on_its_machine() {
    run(async {
        let server = Server::start();
        let one = Machine::with(&client(&server), |level| level, |cache| cache.negative_ttl(LONG));
        let two = Machine::start(&server);
        let load = |_| async { Err::<u32, _>(io::Error::other("no such number")) };
        assert!(one.cache.get_or_load(&one.ctx, 1, load).await.is_err());
        assert_eq!(two.get_or_load(1, 10).await, 10);
        // The value of the other machine takes the place of the error.
        until("the value is heard of", || one.cache.is_empty());
        two.sync().await;
        assert_eq!(one.get_or_load(1, 0).await, 10);
    });
}

pub(crate) fn invalid_setting_of_a_cache_is_named() {
    let client = Client::builder().url("redis://127.0.0.1").build().expect("valid settings");
    let error = CacheLevel::builder(&client, "a{").build::<u32, u32>().unwrap_err();
    assert_eq!(error.config_error().expect("a setting").field(), "name");
    let error = CacheLevel::builder(&client, "a").lease(Duration::ZERO).build::<u32, u32>().unwrap_err();
    assert_eq!(error.to_string(), "build: lease must be at least 10ms, got 0ns");
}
