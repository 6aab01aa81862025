//! Tests searches in the documents that the service has stored in Postgres.

use std::time::Instant;

use ripcord::Context;
use ripcord_sql::postgres::Pool;
use serde_json::Value;

use crate::{
    common::{PATIENCE, Server},
    server::Server as Postgres,
};

/// The password in the URL. The server of the tests does not check passwords.
const PASSWORD: &str = "hunter2";

fn serve(postgres: &Postgres) -> Server {
    let socket = postgres.socket();
    let directory = socket.parent().expect("it is in a directory").display();
    let url = format!("postgres://postgres:{PASSWORD}@/postgres?host={directory}");
    // One attempt and no cache, so that each search asks each backend once.
    Server::start(&[
        "--database-url",
        &url,
        "--retry-attempts",
        "1",
        "--cache-ttl",
        "1ms",
        "--breaker-failures",
        "1000",
    ])
}

fn search(server: &Server, query: &str) -> Value {
    let answer = server.request(&format!("/search?{query}")).answer();
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Returns the report of a backend.
fn report<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let backends = answer["backends"].as_array().expect("a list");
    backends.iter().find(|report| report["name"] == name).expect("it was asked")
}

/// Calls `run` with a pool of the test.
fn with_pool<T>(postgres: &Postgres, run: impl AsyncFnOnce(Pool) -> T) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = postgres.settings().parse().expect("settings");
        run(Pool::builder(config).build().expect("it has a host")).await
    })
}

pub(crate) fn finds_documents(postgres: &Postgres) {
    let server = serve(postgres);
    let answer = search(&server, "q=deadline&timeout=1s");
    let fast = report(&answer, "fast");
    assert_eq!((&fast["outcome"], fast["hits"].as_u64() > Some(0)), (&"ok".into(), true), "{answer:#}");
    let hits = answer["hits"].as_array().expect("a list");
    assert!(
        hits.iter().any(|hit| hit["snippet"].as_str().is_some_and(|text| text.contains("[deadline]"))),
        "{hits:#?}"
    );

    let none = search(&server, "q=deadline+xyzzy&timeout=1s");
    assert_eq!(
        (&report(&none, "fast")["outcome"], &report(&none, "fast")["hits"]),
        (&"ok".into(), &0.into()),
        "{none:#}"
    );
    // Words with the syntax of a query, and NUL, which text in Postgres cannot contain.
    for query in ["%27", "a%27b", "a+%26+b", "!a", "a:*", "%28", "%27%3B+DROP+TABLE+ripcord_documents", "deadline%00"] {
        let answer = search(&server, &format!("q={query}&timeout=1s"));
        assert_eq!(report(&answer, "fast")["outcome"], "ok", "{query}: {answer:#}");
    }
    assert!(search(&server, "q=deadline%00&timeout=1s")["hits"].as_array().is_some_and(|hits| !hits.is_empty()));
    let metrics = server.request("/metrics").answer().body;
    let queries =
        "ripcord_sql_operation_duration_seconds_count{system=\"postgresql\",operation=\"SELECT\",outcome=\"ok\"}";
    assert!(metrics.contains(queries), "{metrics}");
}

pub(crate) fn share_the_table(postgres: &Postgres) {
    with_pool(postgres, async |pool| {
        let drop = "DROP TABLE IF EXISTS ripcord_documents";
        pool.batch_execute(&Context::background(), drop).await.expect("no service uses it");
    });
    let servers: Vec<_> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..4).map(|_| scope.spawn(|| serve(postgres))).collect();
        starting.into_iter().map(|starting| starting.join().expect("it starts")).collect()
    });
    for server in &servers {
        assert_eq!(report(&search(server, "q=context&timeout=1s"), "fast")["outcome"], "ok");
    }
}

pub(crate) fn ends_at_its_deadline(postgres: &Postgres) {
    let server = serve(postgres);
    with_pool(postgres, async |pool| {
        let ctx = &Context::background();
        let lock = pool.transaction(ctx).await.expect("it is the test's own server");
        lock.batch_execute(ctx, "LOCK TABLE ripcord_documents").await.expect("nobody holds a lock");
        let answer = search(&server, "q=locked&timeout=300ms");
        let fast = report(&answer, "fast");
        assert_eq!(
            (&fast["outcome"], &fast["error"]),
            (&"late".into(), &"context deadline exceeded".into()),
            "{answer:#}"
        );

        // The deadline also ends the query at the server, so no query waits for the lock after some time.
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        let until = Instant::now() + PATIENCE;
        while pool.query_one(ctx, waiting, &[]).await.expect("nothing is locked").get::<_, i64>(0) > 0 {
            assert!(Instant::now() < until, "a query is left");
        }
        lock.rollback(ctx).await.expect("it is open");
        let answer = search(&server, "q=context&timeout=1s");
        assert_eq!(report(&answer, "fast")["outcome"], "ok", "{answer:#}");
    });
}

pub(crate) fn is_shown(postgres: &Postgres) {
    let mut server = serve(postgres);
    let mut outputs = vec![search(&server, "q=context&timeout=1s").to_string()];
    for path in ["/debug/contexts", "/debug/contexts/json", "/metrics", "/"] {
        outputs.push(format!("{:?}", server.request(path).answer()));
    }
    let inspector = &outputs[2];
    assert!(inspector.contains("SELECT postgres"), "{inspector}");
    server.terminate();
    outputs.extend(server.wait().1);
    for output in outputs {
        assert!(!output.contains(PASSWORD), "{output}");
    }
}
