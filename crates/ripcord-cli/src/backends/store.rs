//! Full-text search in SQLite, under a Context.
//!
//! # Invariants
//!
//! 1. A connection is used by one task at a time: it is taken out of the list, and put back when its query is over.
//! 2. While a query runs, SQLite asks its Context every few thousand steps whether to go on. That is asked by the thread
//!    that runs the query, of that query's Context, so the next user of the connection is never hit; an interrupt from
//!    another thread could come late and hit it.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use ripcord::Context;
use ripcord_policy::{WorkerPool, pool::Overflow};
use rusqlite::{Connection, ErrorCode, params};
use serde::{Deserialize, Serialize};

const DOCUMENTS: &str = include_str!("documents.tsv");

/// Queries at once. Each keeps a thread busy, so there are few; a search that finds none free waits, as long as it lives.
const WORKERS: u32 = 2;

/// How many steps of SQLite's machine go by between two looks at the Context: some tens of microseconds.
const STEPS: i32 = 4096;

/// The most that one search finds.
const MOST: u32 = 10;

/// A document that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// What it is called.
    pub title: String,
    /// The part of its text where the words are, which are in brackets.
    pub snippet: String,
}

/// The documents of one backend.
#[derive(Clone)]
pub(super) struct Store {
    // SQLite blocks: it gets threads of its own, and few of them.
    pool: WorkerPool,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Store {
    /// Opens a copy of the documents of `backend` in memory for each worker. The workers live as long as `ctx`.
    pub(super) fn open(ctx: &Context, backend: &str) -> io::Result<Store> {
        let pool = WorkerPool::builder().workers(WORKERS as usize).queue(64).overflow(Overflow::Wait);
        let pool = pool.build(ctx).map_err(io::Error::other)?;
        let connections = (0..WORKERS).map(|_| filled(backend)).collect::<Result<_, _>>();
        Ok(Store { pool, idle: Arc::new(Mutex::new(connections.map_err(io::Error::other)?)) })
    }

    /// The documents that have all the words of `words`, the best first.
    ///
    /// Ends with `ctx`, also in the middle of a query.
    pub(super) async fn search(&self, ctx: &Context, words: &str) -> Result<Vec<Hit>, Error> {
        let (idle, query) = (Arc::clone(&self.idle), all_of(words));
        let (ctx, _trace) = ctx.start_trace("sqlite");
        let task = self.pool.submit_blocking(&ctx, move |ctx| {
            let connection = lock(&idle).pop().expect("as many connections as workers");
            let found = find(ctx, &connection, &query);
            lock(&idle).push(connection);
            found
        });
        // A blocking task is resolved when it returns; who waits need not wait for that.
        let task = task.await.map_err(Error::of)?;
        ctx.run(task).await.map_err(Error::Ended)?.map_err(Error::of)
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A database in memory, with the documents of `backend`.
fn filled(backend: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch("CREATE VIRTUAL TABLE documents USING fts5(title, body, tokenize = 'porter')")?;
    {
        let mut insert = connection.prepare("INSERT INTO documents (title, body) VALUES (?1, ?2)")?;
        for document in DOCUMENTS.lines() {
            let mut fields = document.split('\t');
            if let (Some(owner), Some(title), Some(body)) = (fields.next(), fields.next(), fields.next())
                && owner == backend
            {
                insert.execute(params![title, body])?;
            }
        }
    }
    Ok(connection)
}

/// A query of FTS5 for all of the words: each as a string, since what people type is no query.
fn all_of(words: &str) -> String {
    let quoted = words.split_whitespace().map(|word| format!("\"{}\"", word.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(" ")
}

fn find(ctx: &Context, connection: &Connection, query: &str) -> Result<Vec<Hit>, Error> {
    let sql = "SELECT title, snippet(documents, 1, '[', ']', '…', 16) FROM documents WHERE documents MATCH ?1 \
               ORDER BY rank LIMIT ?2";
    under(ctx, connection, || {
        let mut select = connection.prepare_cached(sql)?;
        let hits =
            select.query_map(params![query, MOST], |row| Ok(Hit { title: row.get(0)?, snippet: row.get(1)? }))?;
        hits.collect()
    })
}

/// Runs a query that ends with `ctx` (invariant 2).
fn under<T>(ctx: &Context, connection: &Connection, query: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, Error> {
    ctx.check()?;
    let watched = ctx.clone();
    connection.progress_handler(STEPS, Some(move || watched.is_done())).map_err(Error::of)?;
    let result = query();
    connection.progress_handler(0, None::<fn() -> bool>).map_err(Error::of)?;
    result.map_err(|error| match (error.sqlite_error_code(), ctx.err()) {
        (Some(ErrorCode::OperationInterrupted), Some(ended)) => Error::Ended(ended),
        _ => Error::of(error),
    })
}

/// Why nothing was looked up.
#[derive(Debug)]
pub(super) enum Error {
    /// The Context has ended.
    Ended(ripcord::Error),
    /// SQLite, or the pool in front of it.
    Failed(String),
}

impl Error {
    fn of(error: impl std::error::Error) -> Self {
        Error::Failed(error.to_string())
    }
}

impl From<ripcord::Error> for Error {
    fn from(error: ripcord::Error) -> Self {
        Error::Ended(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Ended(error) => error.fmt(f),
            Error::Failed(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("pool", &self.pool).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn every_backend_finds_context() {
        for backend in ["fast", "slow", "flaky"] {
            let store = Store::open(&Context::background(), backend).expect("SQLite");
            let hits = store.search(&Context::background(), "context").await.expect("it answers");
            assert!(!hits.is_empty() && hits.len() <= MOST as usize, "{backend}: {hits:?}");
            assert!(hits.iter().any(|hit| hit.snippet.contains('[')), "{backend}: {hits:?}");
        }
    }

    #[tokio::test]
    async fn what_people_type_is_no_query() {
        let store = Store::open(&Context::background(), "slow").expect("SQLite");
        for words in
            ["\"", "a\"b", "NOT", "context OR", "title:context", "*", "(", "ctx -deadline", "'; DROP TABLE documents"]
        {
            store.search(&Context::background(), words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }

    #[tokio::test]
    async fn all_words_have_to_be_there() {
        let store = Store::open(&Context::background(), "slow").expect("SQLite");
        let ctx = Context::background();
        assert!(!store.search(&ctx, "deadline").await.expect("it answers").is_empty());
        assert!(store.search(&ctx, "deadline xyzzy").await.expect("it answers").is_empty());
    }

    // It would count for years: what ends it is the Context.
    #[test]
    fn a_query_ends_with_its_context() {
        let connection = Connection::open_in_memory().expect("SQLite");
        let (ctx, cancel) = Context::background().with_cancel();
        let canceling = thread::spawn(move || cancel.cancel_with("enough"));
        let counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let result = under(&ctx, &connection, || connection.query_row(counting, [], |row| row.get::<_, i64>(0)));

        assert!(matches!(result, Err(Error::Ended(error)) if error.is_canceled()));
        canceling.join().expect("no panic");

        // The next one is not hit by it.
        let one = under(&Context::background(), &connection, || {
            connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(one.expect("it answers"), 1_i64);
    }
}
