//! How an operation ends with its context.

use ripcord::{Clock, Context};
use ripcord_sql::sqlite::{Pool, PoolBuilder, rusqlite::Connection};

use crate::common::{ENDLESS, PATIENCE, SECOND, TestPool, gate, hold, in_use};

#[tokio::test]
async fn endless_query_ends_at_its_deadline_and_the_error_names_both_lines() {
    let mut test = TestPool::new();
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_name("report").with_timeout(SECOND);
    let query = test.pool.query(&ctx, ENDLESS, (), |row| row.get::<_, i64>(0));
    let called = line!() - 1;
    let query = tokio::spawn(query);
    test.started().await;
    time.advance(SECOND);

    let error = query.await.expect("no panic").expect_err("it counts until it is stopped");
    assert!(error.is_deadline_exceeded() && !error.is_canceled());
    assert!(!error.is_outcome_unknown() && !error.is_not_sent() && !error.is_transient());
    assert_eq!(error.to_string(), "query: context deadline exceeded");
    let expected = format!(
        "query (called at {0}:{called}:27): context deadline exceeded (timeout of 1s set at {0}:{1}:75 in report); \
         the database answered: interrupted",
        file!(),
        called - 1,
    );
    assert_eq!(format!("{error:#}"), expected);
    assert_eq!((error.operation(), error.location().line()), ("query", called));
    assert_eq!(test.count().await, 0, "the next call has the connection");
}

#[tokio::test]
async fn canceled_query_ends_with_the_cause() {
    let mut test = TestPool::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let query = tokio::spawn(test.pool.query(&ctx, ENDLESS, (), |row| row.get::<_, i64>(0)));
    test.started().await;
    cancel.cancel_with("the user has left");
    let error = query.await.expect("no panic").expect_err("it counts until it is stopped");
    assert!(error.is_canceled() && !error.is_deadline_exceeded());
    assert_eq!(test.pool.stats().canceled, 1);
    let cause = error.context_error().and_then(ripcord::Error::cause).map(ToString::to_string);
    assert_eq!(cause.as_deref(), Some("the user has left"));
}

#[tokio::test]
async fn operation_of_a_context_that_is_done_runs_nothing() {
    let test = TestPool::new();
    let ctx = Context::background().with_timeout(std::time::Duration::ZERO);
    let run = test.pool.run(&ctx, |_, _| -> Result<(), _> { unreachable!("the context is done") });
    let error = run.await.expect_err("the context is done");
    assert!(error.is_deadline_exceeded() && error.is_not_sent());
    assert_eq!(test.pool.stats().idle, 0, "no connection was opened");
}

#[tokio::test]
async fn wait_for_a_connection_ends_with_the_context_and_the_error_says_so() {
    let test = TestPool::new();
    let (open, holder) = hold(&test.pool).await;
    let (ctx, cancel) = Context::background().with_cancel();
    let waiting = tokio::spawn(test.pool.execute(&ctx, "INSERT INTO t VALUES (1)", ()));
    tokio::task::yield_now().await;
    assert_eq!(test.pool.stats().waiting, 1);
    cancel.cancel();
    let error = waiting.await.expect("no panic").expect_err("the only connection is in use");
    assert!(error.is_canceled() && error.is_waiting_for_connection() && error.is_not_sent());
    assert_eq!(error.to_string(), "execute: waiting for a connection: context canceled");
    open.send(()).expect("the closure waits");
    holder.await.expect("no panic").expect("nothing ends it");
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn connection_whose_init_is_stopped_is_closed_and_the_error_says_so() {
    let counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let (clock, time) = Clock::manual();
    let ctx = Context::background().with_clock(clock).with_timeout(SECOND);
    let watched = ctx.clone();
    let test = TestPool::with(move |builder: PoolBuilder| {
        builder.init(move |connection| {
            if watched.is_done() {
                return connection.execute_batch("CREATE TABLE t (i INTEGER)");
            }
            time.advance(SECOND);
            connection.query_row(counting, (), |row| row.get::<_, i64>(0)).map(drop)
        })
    });
    let error =
        test.pool.execute(&ctx, "INSERT INTO t VALUES (1)", ()).await.expect_err("init counts until it is stopped");
    assert!(error.is_deadline_exceeded() && error.is_waiting_for_connection() && error.is_not_sent(), "{error:#}");
    assert_eq!(test.pool.stats().idle, 0);
    assert_eq!(test.count().await, 0, "the next call opens a connection");
}

#[tokio::test]
async fn operation_whose_connection_is_not_open_in_time_is_not_sent() {
    let (clock, time) = Clock::manual();
    let (ctx, cancel) = Context::background().with_clock(clock).with_cancel();
    let ((open, wait), (begin, started)) = (gate(), tokio::sync::oneshot::channel());
    let first = std::sync::Mutex::new(Some((wait, begin)));
    let opener = move || {
        if let Some((wait, begin)) = first.lock().expect("no panic").take() {
            let _ = begin.send(());
            wait();
        }
        Connection::open_in_memory()
    };
    let pool = Pool::builder(opener).max_size(1).grace(SECOND).build().expect("a size above 0");
    let run = tokio::spawn(pool.run(&ctx, |_, _| -> Result<(), _> { unreachable!("the operation has failed before") }));
    started.await.expect("it is being opened");
    cancel.cancel();
    time.advance(SECOND);
    let error = run.await.expect("no panic").expect_err("the connection is not open");
    assert!(error.is_canceled() && error.is_waiting_for_connection() && error.is_not_sent(), "{error:#}");
    assert!(!error.is_outcome_unknown());

    open.send(()).expect("it waits");
    let one = pool.query_one(&Context::background(), "SELECT 1", (), |row| row.get::<_, i64>(0)).await;
    assert_eq!((one.expect("nothing ends it"), pool.stats().size), (1, 1), "the next operation has the connection");
}

#[tokio::test]
async fn dropped_operation_stops_its_statement_and_gives_the_connection_back() {
    let mut test = TestPool::new();
    let query = tokio::spawn(test.pool.query(&Context::background(), ENDLESS, (), |row| row.get::<_, i64>(0)));
    test.started().await;
    query.abort();
    assert!(query.await.expect_err("aborted").is_cancelled());
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn operation_dropped_while_it_waits_leaves_the_queue() {
    let test = TestPool::new();
    let (open, holder) = hold(&test.pool).await;
    let mut waiting = Box::pin(test.pool.execute(&Context::background(), "INSERT INTO t VALUES (1)", ()));
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(test.pool.stats().waiting, 1);
    drop(waiting);
    assert_eq!(test.pool.stats().waiting, 0);
    open.send(()).expect("the closure waits");
    holder.await.expect("no panic").expect("nothing ends it");
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn closure_that_ignores_the_end_is_left_behind_after_the_grace() {
    let test = TestPool::new();
    let (clock, time) = Clock::manual();
    let (ctx, cancel) = Context::background().with_clock(clock).with_cancel();
    let ((open, wait), (begin, started)) = (gate(), tokio::sync::oneshot::channel());
    let run = tokio::spawn(test.pool.run(&ctx, |_, connection| {
        let _ = begin.send(());
        wait();
        Ok(connection.execute("INSERT INTO t VALUES (1)", ())?)
    }));
    started.await.expect("the closure runs");
    cancel.cancel();
    time.advance(PATIENCE);
    let error = run.await.expect("no panic").expect_err("the closure waits at the gate");
    assert!(error.is_canceled() && error.is_outcome_unknown());
    assert_eq!(in_use(&test.pool), 1, "the closure has the connection");
    open.send(()).expect("the closure waits");
    assert_eq!(test.count().await, 1, "short statements do not look at the context");
}

#[tokio::test]
async fn result_that_is_ready_counts_although_the_context_has_ended() {
    let test = TestPool::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let result = test.pool.run(&ctx, move |_, _| {
        cancel.cancel();
        Ok(7)
    });
    assert_eq!(result.await.expect("it has a result"), 7);
}

#[tokio::test]
async fn check_in_a_closure_ends_it_between_statements() {
    let test = TestPool::new();
    let (ctx, cancel) = Context::background().with_cancel();
    let result = test.pool.run(&ctx, move |ctx, connection| {
        for i in 0.. {
            ctx.check()?;
            connection.execute("INSERT INTO t VALUES (?1)", (i,))?;
            if i == 2 {
                cancel.cancel();
            }
        }
        Ok(())
    });
    let error = result.await.expect_err("it goes on until it is stopped");
    assert!(error.is_canceled(), "{error:#}");
    assert_eq!(test.count().await, 3);
}

#[tokio::test]
async fn end_of_a_context_of_the_closure_is_told_as_its_own() {
    let test = TestPool::new();
    let result =
        test.pool.run(&Context::background(), |ctx, _| Ok(ctx.with_timeout(std::time::Duration::ZERO).check()?));
    let line = line!() - 1;
    let error = result.await.expect_err("its own context is done");
    assert!(error.is_deadline_exceeded());
    assert_eq!(error.context_error().map(|end| end.origin().location().line()), Some(line));
}
