//! Connections: waiting for one, opening one, losing one.

use futures::poll;
use ripcord::Context;
use ripcord_sql::postgres::Pool;
use ripcord_sql::postgres::tokio_postgres::Config;
use tokio::net::TcpListener;

use crate::common::{Fixture, assert_clean, backend, background, within};

pub(crate) async fn wait_for_a_connection_ends_with_its_context(fixture: &Fixture<'_>) {
    let pool = fixture.pool();
    let held = pool.transaction(&background()).await.unwrap();
    let error = pool.query(&within(20), "SELECT 1", &[]).await.unwrap_err();
    let line = line!() - 1;
    assert!(error.is_waiting_for_connection() && error.is_deadline_exceeded() && error.is_not_sent());
    assert_eq!(error.to_string(), "query: waiting for a connection: context deadline exceeded");
    assert_eq!(error.location().line(), line);
    held.rollback(&background()).await.unwrap();
    assert_clean(&pool).await;
}

pub(crate) async fn server_that_cannot_be_reached_is_transient(_: &Fixture<'_>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = Config::new();
    config.host("127.0.0.1").port(address.port()).user("postgres");
    let pool = Pool::builder(config).build().unwrap();
    // It accepts and says nothing.
    let error = pool.query(&within(50), "SELECT 1", &[]).await.unwrap_err();
    assert!(error.is_waiting_for_connection() && error.is_deadline_exceeded());
    // No server can get this port by asking for a free one.
    let mut config = Config::new();
    config.host("127.0.0.1").port(1).user("postgres");
    let pool = Pool::builder(config).build().unwrap();
    let error = pool.query(&background(), "SELECT 1", &[]).await.unwrap_err();
    assert!(error.is_transient() && error.is_not_sent() && !error.is_outcome_unknown(), "{error:?}");
    assert!(error.to_string().starts_with("query: cannot connect: "), "{error}");
    assert_eq!(pool.stats().size, 0);
}

pub(crate) async fn second_host_is_tried(fixture: &Fixture<'_>) {
    let config = format!("host=/nonexistent,{} user=postgres dbname=postgres target_session_attrs=read-write", {
        let socket = fixture.server.socket();
        socket.parent().unwrap().display().to_string()
    });
    let pool = Pool::builder(config.parse().unwrap()).build().unwrap();
    assert_clean(&pool).await;
    // The cancel goes to the same host.
    assert!(pool.query(&within(50), "SELECT pg_sleep(60)", &[]).await.unwrap_err().is_deadline_exceeded());
    assert_eq!(pool.stats().discarded, 0);
    let only_standby = config.replace("read-write", "read-only");
    let pool = Pool::builder(only_standby.parse().unwrap()).build().unwrap();
    let error = pool.query(&background(), "SELECT 1", &[]).await.unwrap_err();
    assert!(error.is_not_sent(), "{error:?}");
}

pub(crate) async fn closed_pool_refuses_calls(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    let held = pool.transaction(&ctx).await.unwrap();
    let mut waiting = Box::pin(pool.query(&ctx, "SELECT 1", &[]));
    assert!(poll!(&mut waiting).is_pending());
    pool.close();
    assert_eq!(waiting.await.unwrap_err().to_string(), "query: the pool is closed");
    held.commit(&ctx).await.unwrap();
    assert!(pool.query(&ctx, "SELECT 1", &[]).await.unwrap_err().is_not_sent());
}

pub(crate) async fn connection_closed_by_the_server_is_replaced(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    let first = backend(&pool).await;
    let statement = tokio::spawn({
        let pool = pool.clone();
        async move { pool.query(&background(), "SELECT pg_sleep(60)", &[]).await }
    });
    admin.wait_for_sleep().await;
    admin.execute(&format!("SELECT pg_terminate_backend({first})")).await;
    let error = statement.await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error:#}");
    assert_ne!(backend(&pool).await, first);
    assert_clean(&pool).await;
}

pub(crate) async fn wrong_settings_are_refused(fixture: &Fixture<'_>) {
    let error = Pool::builder(fixture.config()).max_size(0).build().unwrap_err();
    assert_eq!(error.to_string(), "build: the maximum size is 0");
    let error = Pool::builder(Config::new()).build().unwrap_err();
    assert_eq!(error.to_string(), "build: the configuration has no host");
}

pub(crate) async fn wait_dropped_in_the_queue_leaves_no_gap(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), Context::background());
    let held = pool.transaction(&ctx).await.unwrap();
    let mut first = Box::pin(pool.query(&ctx, "SELECT 1", &[]));
    let mut second = Box::pin(pool.query(&ctx, "SELECT 2", &[]));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    drop(first);
    held.commit(&ctx).await.unwrap();
    second.await.unwrap();
    assert_clean(&pool).await;
}
