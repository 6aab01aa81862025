//! The cache in a cluster, and with a master that sentinels watch.

use std::time::Instant;

use ripcord_redis::Client;

use super::{Machine, run};
use crate::cluster::Cluster;
use crate::sentinel::Watched;
use crate::server::{PATIENCE, patient, until};

pub(crate) fn cache_in_a_cluster_survives_a_failover() {
    run(async {
        let mut cluster = Cluster::start();
        let start = || {
            let client = patient(Client::builder().cluster(cluster.urls()));
            let machine = Machine::with(&client, |level| level, |cache| cache);
            until("all masters are heard of", || machine.cache.stats().flushes >= 3);
            machine
        };
        let (one, two) = (start(), start());
        // The keys are on all nodes.
        for key in 0..30 {
            one.insert(key, 10);
        }
        one.sync().await;
        for key in 0..30 {
            assert_eq!(two.get_or_load(key, 0).await, 10);
        }
        one.cache.clear(&one.ctx).unwrap();
        one.sync().await;
        until("the clear is heard of", || two.cache.is_empty());
        for key in 0..30 {
            assert_eq!(two.get_or_load(key, 11).await, 11);
        }
        two.sync().await;
        cluster.fail_over("ripcord:cache:numbers:{1}");
        one.remove(1);
        one.sync().await;
        until("the removal is heard of", || two.get(1).is_none());
        until("the new master answers", || two.cache.stats().flushes >= 5);
        assert_eq!(two.get_or_load(1, 12).await, 12);
        two.sync().await;
        one.remove(1);
        until("the new master reports", || two.get(1).is_none());
    });
}

pub(crate) fn cache_behind_sentinels_survives_a_failover() {
    run(async {
        let mut watched = Watched::start();
        let start = || Machine::with(&watched.client(), |level| level, |cache| cache);
        let (one, two) = (start(), start());
        one.insert(1, 10);
        one.sync().await;
        assert_eq!(two.get_or_load(1, 0).await, 10);
        watched.fail_over();
        one.insert(1, 11);
        one.sync().await;
        until("the change is heard of", || two.get(1).is_none());
        let (mut found, start) = (0, Instant::now());
        while found != 11 {
            assert!(start.elapsed() < PATIENCE, "the new value is not found");
            found = two.get_or_load(1, 0).await;
            two.remove(1);
            one.insert(1, 11);
            one.sync().await;
        }
    });
}
