//! Random ends, at random moments, of two operations at a time on a pool of one.
//!
//! `RIPCORD_SQLITE_SEED` repeats the random choices of a run, but not the order in which threads run. `RIPCORD_SQLITE_ROUNDS` sets their
//! number.

use std::collections::BTreeSet;
use std::hint::spin_loop;
use std::thread;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use ripcord::{Canceler, Context};
use ripcord_sql::Error;
use ripcord_sql::sqlite::{Operation, Pool};

use crate::common::TestPool;

const COUNTING: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// Sebastiano Vigna's SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Starts an operation that writes `i` or nothing, and may not end on its own.
fn operation(pool: &Pool, ctx: &Context, random: &mut Random, i: i64) -> Operation<()> {
    match random.below(6) {
        0 => pool.run(ctx, |_, connection| {
            connection.query_row(COUNTING, (), |row| row.get::<_, i64>(0))?;
            Ok(())
        }),
        // A write of several thousand steps.
        1 => pool.run(ctx, move |_, connection| {
            let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) INSERT INTO t SELECT ?1 FROM n WHERE i = 1";
            connection.execute(insert, (i,))?;
            Ok(())
        }),
        2 => pool.transaction(ctx, move |_, transaction| {
            transaction.execute("INSERT INTO t VALUES (?1)", (i,))?;
            transaction.execute("UPDATE t SET i = -i WHERE i = ?1", (i,))?;
            transaction.execute("UPDATE t SET i = -i WHERE i = -?1", (i,))?;
            Ok(())
        }),
        3 => pool.run(ctx, move |_, connection| {
            connection.execute_batch("BEGIN")?;
            connection.execute("INSERT INTO t VALUES (?1)", (-i,))?;
            Err("left open".into())
        }),
        4 => pool.transaction(ctx, move |_, transaction| {
            transaction.execute("INSERT INTO t VALUES (?1)", (-i,))?;
            // Unlike `panic!`, it prints nothing.
            std::panic::resume_unwind(Box::new("on purpose"))
        }),
        _ => pool.transaction(ctx, move |_, transaction| {
            transaction.execute("INSERT INTO t VALUES (?1)", (-i,))?;
            transaction.query_row(COUNTING, (), |row| row.get::<_, i64>(0))?;
            Ok(())
        }),
    }
}

/// Ends the operation at a random moment: before it starts, after some polls, or from another thread. Returns `None` if it was dropped
/// or panicked.
async fn end_somewhere(operation: Operation<()>, cancel: Canceler, way: u64, moment: u64) -> Option<Result<(), Error>> {
    let operation = std::panic::AssertUnwindSafe(operation).catch_unwind();
    match way {
        0 => cancel.cancel(),
        1 => {
            // Dropped after some polls. The operation wakes this task when its thread is done.
            let mut operation = Box::pin(operation);
            for _ in 0..moment % 8 {
                if let Some(result) = operation.as_mut().now_or_never() {
                    return result.ok();
                }
                tokio::task::yield_now().await;
            }
            return None;
        }
        _ => {
            thread::spawn(move || {
                (0..moment).for_each(|_| spin_loop());
                cancel.cancel();
            });
        }
    }
    operation.await.ok()
}

#[expect(clippy::print_stderr, reason = "a failure shows the seed")]
#[tokio::test]
async fn next_call_is_never_stopped_and_sees_only_what_was_committed() {
    let seed = number("RIPCORD_SQLITE_SEED")
        .unwrap_or_else(|| SystemTime::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_nanos() as u64);
    eprintln!("RIPCORD_SQLITE_SEED={seed}");
    let rounds = number("RIPCORD_SQLITE_ROUNDS").unwrap_or(3000) as i64;
    let mut random = Random(seed);
    let test = TestPool::new();
    let (mut written, mut absent) = (BTreeSet::new(), BTreeSet::new());
    for round in 1..=rounds {
        let mut ends = Vec::new();
        for i in [2 * round, 2 * round + 1] {
            let (ctx, cancel) = Context::background().with_cancel();
            let operation = operation(&test.pool, &ctx, &mut random, i);
            let (way, exponent) = (random.below(4), random.below(17));
            ends.push(async move { (i, end_somewhere(operation, cancel, way, 1 << exponent).await) });
        }
        for (i, result) in futures::future::join_all(ends).await {
            match result {
                Some(Ok(())) => drop(written.insert(i)),
                Some(Err(error)) => {
                    assert!(!error.is_outcome_unknown() || error.context_error().is_some());
                    if !error.is_outcome_unknown() {
                        absent.insert(i);
                    }
                }
                None => {}
            }
        }
        // Nothing of another call is left: no interrupt, no open transaction, no lock.
        let next = test.pool.run(&Context::background(), |_, connection| {
            assert!(connection.is_autocommit());
            let steps =
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT count(*) FROM n";
            let counted = connection.query_row(steps, (), |row| row.get::<_, i64>(0))?;
            connection.execute("DELETE FROM t WHERE i = 0", ())?;
            Ok(counted)
        });
        assert_eq!(next.await.expect("nothing ends it"), 1000);
    }
    let rows = test.pool.query(&Context::background(), "SELECT i FROM t", (), |row| row.get::<_, i64>(0)).await;
    let rows: BTreeSet<_> = rows.expect("nothing ends it").into_iter().collect();
    assert!(rows.iter().all(|i| *i > 0), "a transaction that was not committed is there");
    assert!(written.is_subset(&rows), "lost: {:?}", written.difference(&rows));
    assert!(absent.is_disjoint(&rows), "written although it failed: {:?}", absent.intersection(&rows));
    assert!(rounds < 100 || (!written.is_empty() && !absent.is_empty()));
    assert_eq!((test.pool.stats().idle, test.pool.stats().size), (1, 1), "one connection served all");
}
