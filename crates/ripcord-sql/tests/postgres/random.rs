//! Cancels and drops at random moments, from a seed that is printed.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use ripcord::{CancelHandle, Context};
use ripcord_sql::Error;
use ripcord_sql::postgres::Pool;

use crate::common::{Fixture, background};

/// Number of cancels, unless `RIPCORD_SQL_CANCELS` says another.
const DEFAULT_CANCELS: u64 = 300;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Query,
    Execute,
    Stream,
    CopyIn,
    CopyOut,
    Transaction,
    TransactionWithStreams,
    Batch,
}

const WORK: [Work; 8] = [
    Work::Query,
    Work::Execute,
    Work::Stream,
    Work::CopyIn,
    Work::CopyOut,
    Work::Transaction,
    Work::TransactionWithStreams,
    Work::Batch,
];

#[derive(Clone, Copy, Debug)]
enum Interrupt {
    /// The context is canceled after this many polls that were pending.
    CancelAfterPolls(u64),
    /// The future is dropped after this many polls that were pending.
    DropAfterPolls(u64),
    /// The deadline passes after this time.
    Deadline(Duration),
    /// A task cancels after this many yields, whatever the future does.
    CancelFromOutside(u64),
}

/// The places where a call waits. Each must have been interrupted once by the end of a long run.
const STAGES: [&str; 13] = [
    "connect",
    "query",
    "execute",
    "batch",
    "begin",
    "commit",
    "stream",
    "rows of a stream",
    "copy in",
    "write of a copy",
    "finish of a copy",
    "copy out",
    "data of a copy",
];

/// Number of cancels that reach every stage. Commits are quick, so few of them are interrupted.
const CANCELS_FOR_ALL_STAGES: u64 = 5000;

impl Work {
    /// Does the work, and sets `stage` before each await. Rows of the table `pairs` are stored two at a time.
    async fn run(self, ctx: &Context, pool: &Pool, stage: &Cell<&'static str>) -> Result<(), Error> {
        match self {
            Work::Query => {
                stage.set("query");
                drop(pool.query(ctx, "SELECT generate_series(1, 50), pg_sleep(0.0005)", &[]).await?);
            }
            Work::Execute => {
                stage.set("execute");
                pool.execute(ctx, "INSERT INTO pairs SELECT 1 FROM generate_series(1, $1)", &[&2]).await?;
            }
            Work::Stream => {
                stage.set("stream");
                let mut rows =
                    pool.query_stream(ctx, "SELECT repeat('x', 500) FROM generate_series(1, 300)", &[]).await?;
                stage.set("rows of a stream");
                while let Some(row) = rows.next().await {
                    row?;
                }
            }
            Work::CopyIn => {
                stage.set("copy in");
                let mut copy = pool.copy_in(ctx, "COPY pairs FROM STDIN").await?;
                stage.set("write of a copy");
                for _ in 0..6 {
                    copy.write("1\n".repeat(2000)).await?;
                }
                stage.set("finish of a copy");
                copy.finish().await?;
            }
            Work::CopyOut => {
                stage.set("copy out");
                let mut data =
                    pool.copy_out(ctx, "COPY (SELECT repeat('x', 500) FROM generate_series(1, 300)) TO STDOUT").await?;
                stage.set("data of a copy");
                while let Some(piece) = data.next().await {
                    piece?;
                }
            }
            Work::Transaction => {
                stage.set("begin");
                let transaction = pool.transaction(ctx).await?;
                stage.set("execute");
                transaction.execute(ctx, "INSERT INTO pairs VALUES (1)", &[]).await?;
                stage.set("query");
                transaction.query(ctx, "SELECT pg_sleep(0.0005)", &[]).await?;
                transaction.execute(ctx, "INSERT INTO pairs VALUES (1)", &[]).await?;
                stage.set("commit");
                transaction.commit(ctx).await?;
            }
            Work::TransactionWithStreams => {
                stage.set("begin");
                let transaction = pool.transaction(ctx).await?;
                stage.set("copy in");
                let mut copy = transaction.copy_in(ctx, "COPY pairs FROM STDIN").await?;
                stage.set("write of a copy");
                copy.write("1\n").await?;
                stage.set("finish of a copy");
                copy.finish().await?;
                stage.set("stream");
                let mut rows = transaction.query_stream(ctx, "SELECT generate_series(1, 200)", &[]).await?;
                stage.set("rows of a stream");
                rows.next().await.transpose()?;
                drop(rows);
                stage.set("execute");
                transaction.execute(ctx, "INSERT INTO pairs VALUES (1)", &[]).await?;
                stage.set("commit");
                transaction.commit(ctx).await?;
            }
            Work::Batch => {
                let sql = "BEGIN; INSERT INTO pairs VALUES (1); SELECT pg_sleep(0.0005); INSERT INTO pairs VALUES (1); COMMIT";
                stage.set("batch");
                pool.batch_execute(ctx, sql).await?;
            }
        }
        Ok(())
    }

    /// Does the work until it is interrupted. Adds the stage in which the work waited at the interrupt to `interrupted`.
    async fn interrupted(
        self,
        pool: &Pool,
        interrupt: Interrupt,
        interrupted: &mut BTreeSet<&'static str>,
    ) -> Option<Result<(), Error>> {
        let (ctx, cancel) = background().with_cancel();
        let ctx = match interrupt {
            Interrupt::Deadline(after) => ctx.with_timeout(after),
            _ => ctx,
        };
        if let Interrupt::CancelFromOutside(yields) = interrupt {
            tokio::spawn(cancel_later(cancel.handle(), yields));
        }
        let stage = Cell::new("");
        let mut work = pin!(self.run(&ctx, pool, &stage));
        let mut polls = 0;
        poll_fn(|task| {
            // The stage in which the last poll left the work.
            let waited_in = if pool.stats().size == 0 { "connect" } else { stage.get() };
            if let Poll::Ready(result) = work.as_mut().poll(task) {
                if result.is_err() && polls > 0 {
                    interrupted.insert(waited_in);
                }
                return Poll::Ready(Some(result));
            }
            polls += 1;
            match interrupt {
                Interrupt::CancelAfterPolls(after) if polls == after => cancel.cancel_with("at random"),
                Interrupt::DropAfterPolls(after) if polls == after => {
                    interrupted.insert(if pool.stats().size == 0 { "connect" } else { stage.get() });
                    return Poll::Ready(None);
                }
                _ => {}
            }
            Poll::Pending
        })
        .await
    }
}

async fn cancel_later(cancel: CancelHandle, yields: u64) {
    for _ in 0..yields {
        tokio::task::yield_now().await;
    }
    cancel.cancel_with("at random");
}

pub(crate) async fn cancels_at_every_await_leave_a_clean_pool(fixture: &Fixture<'_>) {
    let setting = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let cancels = setting("RIPCORD_SQL_CANCELS").unwrap_or(DEFAULT_CANCELS);
    let seed = setting("RIPCORD_SQL_SEED")
        .unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64));
    let mut random = Random(seed);
    let admin = fixture.admin().await;
    admin.execute("CREATE TABLE pairs (id int)").await;
    let mut pool = fixture.pool();
    let (mut finished, mut unknown, mut discarded) = (0, 0, 0);
    let mut interrupted = BTreeSet::new();
    for round in 0..cancels {
        // A new pool, so that opening its connection is interrupted too.
        if random.below(10) == 0 {
            discarded += pool.stats().discarded;
            pool = fixture.pool();
        }
        let work = WORK[random.below(WORK.len() as u64) as usize];
        let interrupt = match random.below(4) {
            0 => Interrupt::CancelAfterPolls(1 + random.below(12)),
            1 => Interrupt::DropAfterPolls(1 + random.below(12)),
            2 => Interrupt::Deadline(Duration::from_micros(random.below(4000))),
            _ => Interrupt::CancelFromOutside(random.below(200)),
        };
        let context = format!("RIPCORD_SQL_SEED={seed}, round {round}: {work:?}, {interrupt:?}");
        match work.interrupted(&pool, interrupt, &mut interrupted).await {
            Some(Ok(())) => finished += 1,
            Some(Err(error)) => {
                assert!(error.context_error().is_some(), "{context}: {error:#}");
                unknown += u64::from(error.is_outcome_unknown());
            }
            None => {}
        }
        // The next borrower has the connection for long enough that a late cancel would hit it.
        let next = pool.query_one(&background(), "SELECT txid_current(), pg_sleep(0.001)", &[]).await;
        let next: i64 = next.unwrap_or_else(|error| panic!("{context}: the next borrower: {error:#}")).get(0);
        let after = pool.query_one(&background(), "SELECT txid_current()", &[]).await;
        let after: i64 = after.unwrap_or_else(|error| panic!("{context}: the one after: {error:#}")).get(0);
        assert!(after > next, "{context}: the next borrower is in a transaction");
        if round % 16 == 0 {
            // A discarded connection is in its transaction until the server has noticed that it is closed.
            let started = Instant::now();
            loop {
                let activity = admin.activity().await;
                if activity.iter().all(|line| !line.contains("transaction")) {
                    break;
                }
                assert!(started.elapsed() < Duration::from_secs(60), "{context}: {activity:?}");
                tokio::task::yield_now().await;
            }
            let odd = admin.count("pairs").await;
            assert_eq!(odd % 2, 0, "{context}: a pair is torn");
        }
    }
    admin.wait_for_nothing().await;
    assert_eq!(admin.count("pairs").await % 2, 0, "RIPCORD_SQL_SEED={seed}: a pair is torn");
    assert!(cancels < 100 || finished < cancels, "RIPCORD_SQL_SEED={seed}: every interrupt came too late");
    let missed: Vec<_> = STAGES.into_iter().filter(|stage| !interrupted.contains(stage)).collect();
    assert!(
        cancels < CANCELS_FOR_ALL_STAGES || missed.is_empty(),
        "RIPCORD_SQL_SEED={seed}: not interrupted: {missed:?}"
    );
    discarded += pool.stats().discarded;
    report(cancels, finished, unknown, discarded);
}

#[expect(clippy::print_stdout, reason = "figures for the one who runs it")]
fn report(cancels: u64, finished: u64, unknown: u64, discarded: u64) {
    println!(
        "{cancels} interrupts: {finished} came too late, {unknown} outcomes unknown, {discarded} connections discarded"
    );
}
