//! Clients that wait at the same time, for H4 and H5.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection::Connection;
use super::process::Server;
use super::{error, load_runtime, on_load_core, unix_nanos};
use crate::harness::percentile;
use crate::timing::nanoseconds;

/// The number of clients that make quick requests while the others are idle.
const QUICK_CLIENTS: usize = 32;

/// The interval at which the load asks for the state of the handlers.
const PAUSE: Duration = Duration::from_millis(5);

/// The time limit of each measurement.
const LIMIT: Duration = Duration::from_secs(30);

/// Opens `count` connections, each with a request that waits until the same instant, and then leaves them idle. Then 32 other
/// clients make quick requests for the time `quick`.
///
/// Returns the server's resident bytes per waiting connection, the 99th percentile of the time from the instant until a client has
/// its answer, and the 99th percentile of a quick request. Both times are in nanoseconds.
pub(crate) fn finish_at_once(server: &Server, count: usize, quick: Duration) -> [f64; 3] {
    bounded(server, async |address| {
        let mut control = Connection::open(address).await?;
        let resident_before = server.resident_bytes()?;
        let start = Instant::now();
        let mut connections = open_all(address, count).await?;
        // The requests are sent in less time than the connections were opened, because each opening made two requests.
        let until = unix_nanos() + (start.elapsed() * 2).max(Duration::from_millis(200)).as_nanos() as u64;
        let path = format!("/until/{until}");
        for connection in &mut connections {
            connection.send(&path).await?;
        }
        let left = Duration::from_nanos(until.saturating_sub(unix_nanos()));
        let all_wait = tokio::time::timeout(left, wait_for_live(&mut control, count)).await;
        all_wait.map_err(|_elapsed| error("the requests took too long to arrive"))??;
        let bytes = (server.resident_bytes()? - resident_before) / count as f64;

        let mut answers: JoinSet<io::Result<(Connection, f64)>> = JoinSet::new();
        for mut connection in connections {
            answers.spawn(async move {
                connection.receive().await?;
                let late = unix_nanos().saturating_sub(until) as f64;
                Ok((connection, late))
            });
        }
        let (idle, late) = all(answers).await?;
        let quick = ask_quickly(address, quick).await?;
        drop(idle);
        Ok([bytes, tail(&late)?, tail(&quick)?])
    })
}

/// Opens `count` connections, each with a request whose handler and its task wait until their context ends, and closes all
/// connections at once.
///
/// Returns the time in nanoseconds from the first close until the last handler or task has ended.
pub(crate) fn disconnect_at_once(server: &Server, count: usize) -> f64 {
    bounded(server, async |address| {
        let mut control = Connection::open(address).await?;
        let mut connections = open_all(address, count).await?;
        for connection in &mut connections {
            connection.send("/hold").await?;
        }
        wait_for_live(&mut control, 2 * count).await?;
        let start = unix_nanos();
        drop(connections);
        wait_for_live(&mut control, 0).await?;
        let end = parse(&control.get("/ended").await?)?;
        Ok(end.saturating_sub(start) as f64)
    })
}

/// # Panics
///
/// Panics if the clients fail or exceed the time limit.
fn bounded<T: Send>(server: &Server, clients: impl AsyncFnOnce(SocketAddr) -> io::Result<T> + Send) -> T {
    let address = server.address();
    let run = || load_runtime().block_on(async { tokio::time::timeout(LIMIT, clients(address)).await });
    match on_load_core(run) {
        Ok(Ok(figures)) => figures,
        Ok(Err(error)) => panic!("the clients of {address} failed: {error}"),
        Err(_elapsed) => panic!("the clients of {address} took longer than {LIMIT:?}"),
    }
}

async fn open_all(address: SocketAddr, count: usize) -> io::Result<Vec<Connection>> {
    // A larger batch could overflow the server's queue of new connections.
    const AT_A_TIME: usize = 64;

    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        let mut batch = JoinSet::new();
        for _ in 0..AT_A_TIME.min(count - connections.len()) {
            batch.spawn(Connection::open(address));
        }
        for connection in batch.join_all().await {
            connections.push(connection?);
        }
    }
    Ok(connections)
}

/// Waits until the given number of handlers and tasks are live.
async fn wait_for_live(control: &mut Connection, wanted: usize) -> io::Result<()> {
    while parse(&control.get("/live").await?)? != wanted as u64 {
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Returns the latencies of all requests.
async fn ask_quickly(address: SocketAddr, time: Duration) -> io::Result<Vec<f64>> {
    let connections = open_all(address, QUICK_CLIENTS).await?;
    let end = Instant::now() + time;
    let mut tasks: JoinSet<io::Result<((), Vec<f64>)>> = JoinSet::new();
    for mut connection in connections {
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                connection.ask().await?;
                latencies.push(nanoseconds(start.elapsed()));
            }
            Ok(((), latencies))
        });
    }
    let (_, latencies) = all(tasks).await?;
    Ok(latencies.concat())
}

async fn all<K: 'static, V: 'static>(mut tasks: JoinSet<io::Result<(K, V)>>) -> io::Result<(Vec<K>, Vec<V>)> {
    let (mut firsts, mut seconds) = (Vec::new(), Vec::new());
    while let Some(joined) = tasks.join_next().await {
        let (first, second) = joined.expect("a client does not panic")?;
        firsts.push(first);
        seconds.push(second);
    }
    Ok((firsts, seconds))
}

fn tail(latencies: &[f64]) -> io::Result<f64> {
    percentile(latencies, 99).ok_or_else(|| error("no answers"))
}

fn parse(body: &str) -> io::Result<u64> {
    body.parse().map_err(|_| error(format!("not a number: {body:?}")))
}
