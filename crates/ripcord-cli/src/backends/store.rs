//! Full-text search in SQLite that ends with a context.
//!
//! # Invariants
//!
//! 1. One task uses a connection at a time: it takes the connection out of the list, and puts it back after its query.
//! 2. While a query runs, SQLite checks the query's context every few thousand steps, on the thread that runs the query. So the
//!    check never ends a later query on the same connection. An interrupt from another thread could come late and do that.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use ripcord::Context;
use ripcord_policy::{WorkerPool, pool::Overflow};
use rusqlite::{Connection, ErrorCode, params};
use serde::{Deserialize, Serialize};

const DOCUMENTS: &str = include_str!("documents.tsv");

/// Maximum number of concurrent queries. Each occupies a thread. Further searches wait until their context ends.
const WORKERS: u32 = 2;

/// Number of steps of SQLite's virtual machine between two checks of the context: some tens of microseconds.
const STEPS: i32 = 4096;

/// Maximum number of hits of one search.
const MAX_HITS: u32 = 10;

/// A document that matches the words of a search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The title.
    pub title: String,
    /// The part of the text that contains the words. The words are in brackets.
    pub snippet: String,
}

/// The documents of one backend.
#[derive(Clone)]
pub(super) struct Store {
    // SQLite blocks, so it gets a few threads of its own.
    pool: WorkerPool,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Store {
    /// Opens a copy of the documents of `backend` in memory for each worker. The workers live as long as `ctx`.
    pub(super) fn open(ctx: &Context, backend: &str) -> io::Result<Store> {
        let pool = WorkerPool::builder().workers(WORKERS as usize).queue(64).overflow(Overflow::Wait);
        let pool = pool.build(ctx).map_err(io::Error::other)?;
        let connections = (0..WORKERS).map(|_| open_documents(backend)).collect::<Result<_, _>>();
        Ok(Store { pool, idle: Arc::new(Mutex::new(connections.map_err(io::Error::other)?)) })
    }

    /// Returns the documents that contain all of `words`, best first.
    ///
    /// A query in progress ends with `ctx`.
    pub(super) async fn search(&self, ctx: &Context, words: &str) -> Result<Vec<Hit>, Error> {
        let (idle, query) = (Arc::clone(&self.idle), match_all(words));
        let (ctx, _span) = ctx.start_span("sqlite");
        let task = self.pool.submit_blocking(&ctx, move |ctx| {
            let connection = lock(&idle).pop().expect("there are as many connections as workers");
            let found = find(ctx, &connection, &query);
            lock(&idle).push(connection);
            found
        });
        // A blocking task resolves when it returns. This wait ends with the context instead.
        let task = task.await.map_err(Error::from_error)?;
        ctx.run(task).await.map_err(Error::Ended)?.map_err(Error::from_error)
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates a database in memory with the documents of `backend`.
fn open_documents(backend: &str) -> rusqlite::Result<Connection> {
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

/// Returns a query of FTS5 that matches all words. Each word is quoted, so none is read as syntax.
fn match_all(words: &str) -> String {
    let quoted = words.split_whitespace().map(|word| format!("\"{}\"", word.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(" ")
}

fn find(ctx: &Context, connection: &Connection, query: &str) -> Result<Vec<Hit>, Error> {
    let sql = "SELECT title, snippet(documents, 1, '[', ']', '…', 16) FROM documents WHERE documents MATCH ?1 \
               ORDER BY rank LIMIT ?2";
    run_query(ctx, connection, || {
        let mut select = connection.prepare_cached(sql)?;
        let hits =
            select.query_map(params![query, MAX_HITS], |row| Ok(Hit { title: row.get(0)?, snippet: row.get(1)? }))?;
        hits.collect()
    })
}

/// Runs a query that ends with `ctx` (invariant 2).
fn run_query<T>(
    ctx: &Context,
    connection: &Connection,
    query: impl FnOnce() -> rusqlite::Result<T>,
) -> Result<T, Error> {
    ctx.check()?;
    let watched = ctx.clone();
    connection.progress_handler(STEPS, Some(move || watched.is_done())).map_err(Error::from_error)?;
    let result = query();
    connection.progress_handler(0, None::<fn() -> bool>).map_err(Error::from_error)?;
    result.map_err(|error| match (error.sqlite_error_code(), ctx.err()) {
        (Some(ErrorCode::OperationInterrupted), Some(ended)) => Error::Ended(ended),
        _ => Error::from_error(error),
    })
}

/// Why a search failed.
#[derive(Debug)]
pub(super) enum Error {
    /// The context has ended.
    Ended(ripcord::Error),
    /// SQLite or the worker pool failed.
    Failed(String),
}

impl Error {
    fn from_error(error: impl std::error::Error) -> Self {
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
    async fn every_backend_finds_the_word_context() {
        for backend in ["fast", "slow", "flaky"] {
            let store = Store::open(&Context::background(), backend).expect("SQLite");
            let hits = store.search(&Context::background(), "context").await.expect("it answers");
            assert!(!hits.is_empty() && hits.len() <= MAX_HITS as usize, "{backend}: {hits:?}");
            assert!(hits.iter().any(|hit| hit.snippet.contains('[')), "{backend}: {hits:?}");
        }
    }

    #[tokio::test]
    async fn words_with_query_syntax_are_searched_for_literally() {
        let store = Store::open(&Context::background(), "slow").expect("SQLite");
        for words in
            ["\"", "a\"b", "NOT", "context OR", "title:context", "*", "(", "ctx -deadline", "'; DROP TABLE documents"]
        {
            store.search(&Context::background(), words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
    }

    #[tokio::test]
    async fn document_without_one_of_the_words_is_not_found() {
        let store = Store::open(&Context::background(), "slow").expect("SQLite");
        let ctx = Context::background();
        assert!(!store.search(&ctx, "deadline").await.expect("it answers").is_empty());
        assert!(store.search(&ctx, "deadline xyzzy").await.expect("it answers").is_empty());
    }

    // The query would count for years. Only the context ends it.
    #[test]
    fn running_query_ends_with_its_context() {
        let connection = Connection::open_in_memory().expect("SQLite");
        let (ctx, cancel) = Context::background().with_cancel();
        let canceling = thread::spawn(move || cancel.cancel_with("enough"));
        let counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let result = run_query(&ctx, &connection, || connection.query_row(counting, [], |row| row.get::<_, i64>(0)));

        assert!(matches!(result, Err(Error::Ended(error)) if error.is_canceled()));
        canceling.join().expect("no panic");

        // The next query on the connection is not affected.
        let one = run_query(&Context::background(), &connection, || {
            connection.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(one.expect("it answers"), 1_i64);
    }
}
