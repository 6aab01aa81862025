//! The connection: outages, restarts and settings.

use std::time::{Duration, Instant};

use ripcord::{Context, block_on};
use ripcord_redis::{Client, Hub};

use crate::server::{PATIENCE, Server, free_port, until};

pub(crate) fn unreachable_server_costs_one_timeout_and_not_one_per_command() {
    let client = Client::builder().url(format!("redis://127.0.0.1:{}", free_port())).build().expect("valid settings");
    until("the heartbeat finds no server", || !client.is_available());
    let stats = client.stats();
    assert!(stats.retry_after.is_some() && stats.peers == 1, "{stats:?}");
}

pub(crate) fn restarted_server_is_found_again() {
    let mut server = Server::start();
    let beat = Duration::from_millis(50);
    let client = Client::builder().url(server.url()).retry_every(beat).build().expect("valid settings");
    until("a heartbeat is answered", || client.stats().commands > 1 && client.is_available());
    server.kill();
    until("a heartbeat fails", || !client.is_available());
    server.restart();
    until("a heartbeat is answered again", || client.is_available());
    assert!(client.stats().reconnects >= 1, "{:?}", client.stats());
}

pub(crate) fn invalid_setting_is_named() {
    let start = Instant::now();
    let error = Client::builder().build().unwrap_err();
    assert_eq!(error.config_error().expect("a setting").field(), "url");
    let error = Client::builder().url("http://127.0.0.1").build().unwrap_err();
    assert!(error.to_string().contains("url must be a valid URL"), "{error}");
    let error = Client::builder().url("redis://127.0.0.1").prefix("a{b}").build().unwrap_err();
    assert_eq!(error.config_error().expect("a setting").field(), "prefix");
    let error = Client::builder().url("redis://127.0.0.1").timeout(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.to_string(), "build: timeout must be above zero, got 0ns");
    assert!(format!("{error:#}").contains("tests/redis/client.rs"), "{error:#}");
    assert!(start.elapsed() < Duration::from_secs(10), "no setting needs the server");
}

pub(crate) fn paused_server_fails_within_the_timeout_and_recovers() {
    let server = Server::start();
    let client =
        Client::builder().url(server.url()).retry_every(Duration::from_millis(50)).build().expect("valid settings");
    until("a heartbeat is answered", || client.stats().commands > 1 && client.is_available());
    server.pause();
    let paused = Instant::now();
    until("a heartbeat is not answered", || !client.is_available());
    until("the pause is over", || paused.elapsed() > Duration::from_secs(2));
    assert!(!client.is_available());
    server.resume();
    until("a heartbeat is answered again", || client.is_available());
}

pub(crate) fn longest_times_of_a_client_are_accepted() {
    let server = Server::start();
    let builder = Client::builder().url(server.url()).timeout(Duration::MAX).retry_every(Duration::MAX);
    let client = builder.build().expect("valid settings");
    let hub = Hub::builder(&client).ttl(Duration::MAX).build().expect("valid settings");
    let ctx = Context::background().with_timeout(PATIENCE);
    assert!(block_on(hub.cancel(&ctx, "id", "a cause")).expect("a server"));
    until("the heartbeat expires", || !server.command(&["PTTL", "ripcord:{peers}"]).starts_with(":-"));
    assert!(client.is_available());
}

pub(crate) fn server_that_refuses_all_writes_is_unavailable() {
    let server = Server::start();
    let client =
        Client::builder().url(server.url()).retry_every(Duration::from_millis(50)).build().expect("valid settings");
    until("a heartbeat is answered", || client.stats().commands > 1 && client.is_available());
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    until("a heartbeat is refused", || !client.is_available());
    let (hub, ctx) = (Hub::new(&client), Context::background());
    assert!(block_on(hub.cancel(&ctx, "id", "a cause")).unwrap_err().is_unavailable());
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    until("a heartbeat is answered again", || client.is_available());
}
