//! Statements whose context ends.

use std::time::{Duration, Instant};

use futures::future::join;
use futures::poll;
use ripcord_sql::Error;
use ripcord_sql::postgres::tokio_postgres::error::SqlState;
use ripcord_sql::postgres::{Pool, tokio_postgres::Row};

use crate::common::{Fixture, Traffic, assert_clean, backend, background, least_of_five, within};

const FOREVER: &str = "SELECT pg_sleep(60)";

/// Starts a statement that takes a minute, in a task.
fn forever(pool: &Pool, ctx: &ripcord::Context) -> tokio::task::JoinHandle<Result<Vec<Row>, Error>> {
    let (pool, ctx) = (pool.clone(), ctx.clone());
    tokio::spawn(async move { pool.query(&ctx, FOREVER, &[]).await })
}

pub(crate) async fn long_statement_ends_at_the_deadline(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    let before = backend(&pool).await;
    let mut until_gone = Duration::MAX;
    let least = least_of_five(async || {
        let started = Instant::now();
        let error = pool.query(&within(200), FOREVER, &[]).await.unwrap_err();
        let took = started.elapsed();
        until_gone = until_gone.min(admin.wait_for_nothing().await);
        assert!(error.is_deadline_exceeded() && !error.is_outcome_unknown() && !error.is_transient(), "{error:?}");
        assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::QUERY_CANCELED));
        assert_eq!(error.to_string(), "query: context deadline exceeded");
        took
    });
    let least = least.await;
    assert!(least >= Duration::from_millis(200) && least < Duration::from_millis(250), "{least:?}");
    assert!(until_gone < Duration::from_millis(100), "{until_gone:?}");
    assert_clean(&pool).await;
    assert_eq!((backend(&pool).await, pool.stats().canceled, pool.stats().discarded), (before, 5, 0));
}

pub(crate) async fn cancel_is_reported_with_its_cause_and_line(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    let (ctx, cancel) = background().with_name("import").with_cancel();
    let statement = forever(&pool, &ctx);
    admin.wait_for_sleep().await;
    cancel.cancel_with("out of disk");
    let line = line!() - 1;
    let error = statement.await.unwrap().unwrap_err();
    assert!(error.is_canceled());
    assert_eq!(error.context_error().unwrap().origin().location().line(), line);
    let text = format!("{error:#}");
    assert!(text.contains(concat!("context canceled: out of disk (canceled at ", file!(), ":")), "{text}");
    assert!(text.contains(" in import, "), "{text}");
    assert!(text.ends_with("; the database answered: ERROR: canceling statement due to user request"), "{text}");
    admin.wait_for_nothing().await;
    assert_clean(&pool).await;
}

pub(crate) async fn done_context_sends_nothing(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    admin.execute("CREATE TABLE untouched (id int)").await;
    let error = pool.execute(&within(0), "INSERT INTO untouched VALUES (1)", &[]).await.unwrap_err();
    assert!(error.is_not_sent() && error.is_deadline_exceeded() && !error.is_waiting_for_connection());
    assert_eq!(error.to_string(), "execute: not sent: context deadline exceeded");
    assert_eq!((admin.count("untouched").await, pool.stats().size), (0, 0));
}

pub(crate) async fn result_that_arrives_after_the_end_is_returned(fixture: &Fixture<'_>) {
    // Without a cancel, the statement ends by itself, within the grace.
    let pool = fixture.builder().cancel_on_server(false).statement_timeout(false).build().unwrap();
    let ctx = within(50);
    let row = pool.query_one(&ctx, "SELECT 7 FROM pg_sleep(0.2)", &[]).await.unwrap();
    assert!(ctx.is_done());
    assert_eq!(row.get::<_, i32>(0), 7);
    assert_clean(&pool).await;
}

pub(crate) async fn statement_that_fails_after_the_end_reports_both(fixture: &Fixture<'_>) {
    let pool = fixture.builder().cancel_on_server(false).statement_timeout(false).build().unwrap();
    let sql = "SELECT 1 / (extract(epoch FROM now()) * 0)::int FROM pg_sleep(0.2)";
    let error = pool.query(&within(50), sql, &[]).await.unwrap_err();
    assert!(error.is_deadline_exceeded() && !error.is_outcome_unknown());
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::DIVISION_BY_ZERO));
    assert_clean(&pool).await;
}

pub(crate) async fn dropped_statement_is_canceled_in_the_server(fixture: &Fixture<'_>) {
    let (pool, admin, ctx) = (fixture.pool(), fixture.admin().await, background());
    let before = backend(&pool).await;
    // Prepared, so that the next one is dropped while it runs.
    assert!(pool.query(&within(20), FOREVER, &[]).await.is_err());
    let least = least_of_five(async || {
        // The connection is back, so that the next poll sends the statement.
        assert_clean(&pool).await;
        let mut statement = Box::pin(pool.query(&ctx, FOREVER, &[]));
        assert!(poll!(&mut statement).is_pending());
        admin.wait_for_sleep().await;
        drop(statement);
        admin.wait_for_nothing().await
    });
    let least = least.await;
    assert!(least < Duration::from_millis(100), "{least:?}");
    assert_clean(&pool).await;
    assert_eq!((backend(&pool).await, pool.stats().discarded), (before, 0));
}

pub(crate) async fn next_borrower_is_not_hit_by_a_cancel(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    for round in 0..100 {
        let first = within(round % 5);
        // The second waits for the only connection, and has it as soon as the first gives it back.
        let (_, second) =
            join(pool.query(&first, "SELECT pg_sleep(0.003)", &[]), pool.query(&ctx, "SELECT pg_sleep(0.002)", &[]))
                .await;
        second.unwrap_or_else(|error| panic!("round {round}: {error:#}"));
    }
    assert_clean(&pool).await;
}

pub(crate) async fn server_that_does_not_answer_costs_the_grace(fixture: &Fixture<'_>) {
    let (proxy, grace) = (fixture.proxy().await, Duration::from_millis(100));
    let pool = Pool::builder(proxy.config()).max_size(1).grace(grace).build().unwrap();
    backend(&pool).await;
    proxy.set(Traffic::Stops);
    let started = Instant::now();
    let error = pool.query(&within(50), "SELECT 1", &[]).await.unwrap_err();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(150) && took < Duration::from_secs(10), "{took:?}");
    assert!(error.is_deadline_exceeded(), "{error:#}");
    // Preparing has no effect, so this one's outcome is known.
    assert!(!error.is_outcome_unknown());
    proxy.set(Traffic::Flows);
    backend(&pool).await;
    proxy.set(Traffic::Stops);
    let error = pool.query(&within(50), "SELECT pg_backend_pid()", &[]).await.unwrap_err();
    assert!(error.is_outcome_unknown() && !error.is_transient());
    assert!(format!("{error:#}").ends_with("so the operation may have taken effect"), "{error:#}");
    proxy.set(Traffic::Flows);
    assert_clean(&pool).await;
    assert_eq!(pool.stats().discarded, 2);
}

pub(crate) async fn connection_lost_half_way_has_an_unknown_outcome(fixture: &Fixture<'_>) {
    let (proxy, admin) = (fixture.proxy().await, fixture.admin().await);
    let pool = Pool::builder(proxy.config()).max_size(1).build().unwrap();
    let statement = forever(&pool, &background());
    admin.wait_for_sleep().await;
    proxy.set(Traffic::Breaks);
    let error = statement.await.unwrap().unwrap_err();
    assert!(error.is_outcome_unknown() && !error.is_transient() && error.context_error().is_none(), "{error:?}");
    proxy.set(Traffic::Flows);
    assert_clean(&pool).await;
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'").await;
}

pub(crate) async fn blocked_result_is_canceled(fixture: &Fixture<'_>) {
    let (pool, admin) = (fixture.pool(), fixture.admin().await);
    let sql = "SELECT repeat('x', 1000), generate_series(1, 100000000)";
    let error = pool.query(&within(100), sql, &[]).await.unwrap_err();
    assert!(error.is_deadline_exceeded() && !error.is_outcome_unknown(), "{error:#}");
    admin.wait_for_nothing().await;
    assert_clean(&pool).await;
}

pub(crate) async fn connection_lost_after_the_end_has_an_unknown_outcome(fixture: &Fixture<'_>) {
    let (proxy, admin) = (fixture.proxy().await, fixture.admin().await);
    let pool = Pool::builder(proxy.config()).max_size(1).cancel_on_server(false).statement_timeout(false);
    let pool = pool.build().unwrap();
    let (ctx, cancel) = background().with_cancel();
    let mut statement = Box::pin(pool.query(&ctx, FOREVER, &[]));
    tokio::select! {
        _ = &mut statement => panic!("it sleeps"),
        () = admin.wait_for_sleep() => {}
    }
    cancel.cancel();
    // Now the statement waits for its outcome.
    assert!(poll!(&mut statement).is_pending());
    proxy.set(Traffic::Breaks);
    let error = statement.await.unwrap_err();
    assert!(error.is_canceled() && error.is_outcome_unknown(), "{error:#}");
    admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'").await;
}

pub(crate) async fn connection_exception_of_a_pooler_has_an_unknown_outcome(fixture: &Fixture<'_>) {
    let (pool, ctx) = (fixture.pool(), background());
    let sql = "DO $$ BEGIN RAISE EXCEPTION 'server conn crashed?' USING ERRCODE = '08P01'; END $$";
    let error = pool.batch_execute(&ctx, sql).await.unwrap_err();
    assert!(error.is_outcome_unknown() && !error.is_transient(), "{error:#}");
    assert_eq!(error.postgres().unwrap().code(), Some(&SqlState::PROTOCOL_VIOLATION));
    assert_clean(&pool).await;
    // The exception arrives after the end of the context.
    let pool = fixture.builder().cancel_on_server(false).statement_timeout(false).build().unwrap();
    let sql = "DO $$ BEGIN PERFORM pg_sleep(0.2); RAISE EXCEPTION 'lost' USING ERRCODE = '08006'; END $$";
    let error = pool.batch_execute(&within(50), sql).await.unwrap_err();
    assert!(error.is_deadline_exceeded() && error.is_outcome_unknown(), "{error:#}");
    assert_clean(&pool).await;
}

pub(crate) async fn result_is_returned_if_the_connection_is_closed_after_it(fixture: &Fixture<'_>) {
    let (proxy, admin) = (fixture.proxy().await, fixture.admin().await);
    let pool = Pool::builder(proxy.config()).max_size(1).cancel_on_server(false).statement_timeout(false);
    let pool = pool.grace(Duration::from_secs(2)).build().unwrap();
    let sql = "SELECT pg_sleep(0.5)";
    for discarded in 1..=2 {
        let (ctx, cancel) = background().with_cancel();
        let background = background();
        // The first round is without a transaction.
        let transaction = if discarded == 1 { None } else { Some(pool.transaction(&background).await.unwrap()) };
        let statement = async {
            match &transaction {
                None => pool.batch_execute(&ctx, sql).await,
                Some(transaction) => transaction.batch_execute(&ctx, sql).await,
            }
        };
        let ends = async {
            admin.wait_for_sleep().await;
            // The result arrives, but not the answer to the clean-up that follows it.
            proxy.set(Traffic::StopsRequests);
            cancel.cancel();
        };
        join(statement, ends).await.0.unwrap();
        assert_eq!(pool.stats().discarded, discarded);
        proxy.set(Traffic::Flows);
        if let Some(transaction) = transaction {
            let error = transaction.query(&background, "SELECT 1", &[]).await.unwrap_err();
            assert!(error.to_string().starts_with("query: the transaction is over"), "{error}");
        }
        assert_clean(&pool).await;
    }
}
