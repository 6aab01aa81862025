//! A pool in memory whose statements can tell the test that they run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ripcord::Context;
use ripcord_sql::Error;
use ripcord_sql::sqlite::rusqlite::functions::FunctionFlags;
use ripcord_sql::sqlite::{Pool, PoolBuilder, rusqlite::Connection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// When to give up on a condition that holds at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Tells that it runs, then counts until it is stopped.
pub(crate) const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT started() UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// A pool of one connection, with a table `t` of one column `i`.
pub(crate) struct TestPool {
    pub(crate) pool: Pool,
    starts: mpsc::UnboundedReceiver<()>,
}

impl TestPool {
    pub(crate) fn new() -> TestPool {
        TestPool::with(|builder| builder)
    }

    pub(crate) fn with(change: impl FnOnce(PoolBuilder) -> PoolBuilder) -> TestPool {
        let (start, starts) = mpsc::unbounded_channel();
        let init = move |connection: &mut Connection| {
            add_started(connection, start.clone())?;
            connection.execute_batch("CREATE TABLE t (i INTEGER)")
        };
        // A slow machine must not make an outcome unknown.
        let builder = Pool::builder(Connection::open_in_memory).max_size(1).grace(PATIENCE).init(init);
        TestPool { pool: change(builder).build().expect("a size above 0"), starts }
    }

    /// Waits until a statement calls `started()`.
    pub(crate) async fn started(&mut self) {
        started(&mut self.starts).await;
    }

    pub(crate) async fn count(&self) -> i64 {
        count(&self.pool).await
    }
}

/// Adds the SQL function `started()`, which sends and returns 1.
pub(crate) fn add_started(
    connection: &Connection,
    start: mpsc::UnboundedSender<()>,
) -> ripcord_sql::sqlite::rusqlite::Result<()> {
    connection.create_scalar_function("started", 0, FunctionFlags::SQLITE_UTF8, move |_| {
        // The test may be over.
        let _ = start.send(());
        Ok(1)
    })
}

pub(crate) async fn started(starts: &mut mpsc::UnboundedReceiver<()>) {
    tokio::time::timeout(PATIENCE, starts.recv()).await.expect("a statement runs").expect("the function is there");
}

/// Returns the number of rows of `t`, under a context that nothing ends.
pub(crate) async fn count(pool: &Pool) -> i64 {
    let counted = pool.query(&Context::background(), "SELECT count(*) FROM t", (), |row| row.get(0)).await;
    counted.expect("nothing ends it")[0]
}

/// A gate that a closure waits at, on its thread.
pub(crate) fn gate() -> (std::sync::mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
    let (open, wait) = std::sync::mpsc::channel();
    (open, move || _ = wait.recv_timeout(PATIENCE))
}

/// Starts a closure that holds a connection until the returned sender sends.
pub(crate) async fn hold(pool: &Pool) -> (std::sync::mpsc::Sender<()>, JoinHandle<Result<(), Error>>) {
    let ((open, wait), (begin, started)) = (gate(), oneshot::channel());
    let holder = pool.run(&Context::background(), |_, _| {
        let _ = begin.send(());
        wait();
        Ok(())
    });
    let holder = tokio::spawn(holder);
    started.await.expect("the closure runs");
    (open, holder)
}

/// Returns the number of connections in use.
pub(crate) fn in_use(pool: &Pool) -> usize {
    let stats = pool.stats();
    stats.size - stats.idle
}

/// A file for a database. It is removed when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct File(Arc<Directory>);

struct Directory(PathBuf);

impl File {
    pub(crate) fn new() -> File {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ripcord-sql-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        File(Arc::new(Directory(path)))
    }

    pub(crate) fn open(&self) -> ripcord_sql::sqlite::rusqlite::Result<Connection> {
        Connection::open(self.0.0.join("test.db"))
    }

    pub(crate) fn has_write_ahead_log(&self) -> bool {
        self.0.0.join("test.db-wal").exists()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A journal may be deleted meanwhile by a connection that is being closed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
