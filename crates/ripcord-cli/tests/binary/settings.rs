//! Flags, the settings file, and the errors of invalid settings.

use std::net::TcpListener;

use serde_json::Value;

use super::refused;
use crate::common::{Server, run};

#[test]
#[cfg(unix)]
fn flag_overrides_the_file() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("flag_beats_file.toml");
    std::fs::write(&path, "grace = \"7s\"\nlog_format = \"json\"\nlisten = \"nowhere:1\"\n")
        .expect("a directory for this");
    let path = path.to_str().expect("text");

    let mut server = Server::start(&["--config", path, "--grace", "3s"]);
    server.terminate();
    let line = server.wait_for_log("Shutting down");
    let json: Value = serde_json::from_str(&line).expect("the file asks for JSON");
    assert_eq!(json["message"], "Shutting down (SIGTERM received): requests in flight have 3s to finish");
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn port_in_use_is_one_line_and_exit_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();

    let line = refused(&["serve", "--listen", &address]);
    assert!(line.starts_with(&format!("ripcord: cannot listen on {address}: ")), "{line}");
}

#[test]
fn flags_out_of_bounds_are_one_line_and_exit_2() {
    let listen = "expected HOST:PORT, such as 127.0.0.1:8080";
    let cases = [
        ("--listen", "nonsense", listen),
        ("--listen", "127.0.0.1", listen),
        ("--listen", "127.0.0.1:http", listen),
        ("--listen", "127.0.0.1:65536", listen),
        ("--listen", ":8080", listen),
        ("--listen", "", listen),
        ("--grace", "25h", "expected a duration from 0ns to 24h, such as 500ms or 5s"),
        ("--timeout", "0s", "expected a duration from 1ms to 24h, such as 500ms or 5s"),
        ("--retry-attempts", "0", "expected a whole number from 1 to 10"),
        ("--limiter-rate", "NaN", "expected a number above 0 and at most 1000000"),
        ("--backend", "https://there", "expected an http:// URL without a query"),
        ("--trusted-peer", "localhost", "expected an address or a network"),
    ];
    for (flag, value, expected) in cases {
        let line = refused(&["serve", flag, value]);
        assert!(
            line.starts_with("ripcord: invalid value ") && line.contains(flag) && line.contains(expected),
            "{line}"
        );
    }
    assert_eq!(refused(&["serve", "--prot", "80"]), "ripcord: unexpected argument '--prot' found");
    let line = refused(&["serve", "--half-close", "maybe"]);
    assert!(line.starts_with("ripcord: invalid value 'maybe' for '--half-close"), "{line}");
}

#[test]
fn invalid_settings_file_prints_one_line_and_exits_with_2() {
    let missing = refused(&["serve", "--config", "/nonexistent/ripcord.toml"]);
    assert!(missing.starts_with("ripcord: cannot read /nonexistent/ripcord.toml: "), "{missing}");

    // A directory can be opened, but not read.
    let directory = refused(&["serve", "--config", env!("CARGO_TARGET_TMPDIR")]);
    assert!(directory.starts_with(&format!("ripcord: cannot read {}: ", env!("CARGO_TARGET_TMPDIR"))), "{directory}");

    let no_text = settings_file("no_text.toml", "");
    std::fs::write(&no_text, b"grace = \"\xff\"").expect("it is there");
    let line = refused(&["serve", "--config", &no_text]);
    assert!(line.starts_with(&format!("ripcord: cannot read {no_text}: ")), "{line}");

    let unknown = settings_file("unknown.toml", "grace = \"1s\"\ntimeuot = \"5s\"\n");
    let line = refused(&["serve", "--config", &unknown]);
    assert!(line.starts_with(&format!("ripcord: {unknown}:2:1: unknown field `timeuot`")), "{line}");

    let bound = settings_file("bound.toml", "retry_attempts = 11\n");
    let line = refused(&["serve", "--config", &bound]);
    let expected = format!("ripcord: {bound}:1:18: retry_attempts: expected a whole number from 1 to 10, got 11");
    assert_eq!(line, expected);

    let twice = settings_file("twice.toml", "backends = [\"http://127.0.0.1:1/\", \"http://127.0.0.1:1/\"]\n");
    let line = refused(&["serve", "--listen", "127.0.0.1:0", "--config", &twice]);
    assert_eq!(line, "ripcord: backends must be given once each, got 127.0.0.1:1 twice");
}

// The URL contains the password, so no message contains a part of the URL.
#[test]
fn database_that_cannot_be_used_is_one_line_and_exit_2_without_the_password() {
    let expected =
        "ripcord: database_url must be a URL such as postgres://USER:PASSWORD@HOST/DATABASE, got another text";
    for url in [
        "",
        "hunter2",
        "host=localhost password=hunter2",
        "mysql://shop:hunter2@localhost/shop",
        "postgres://shop:hunter2@localhost:99999/shop",
        "postgres://shop@localhost/shop?password=hunter2&hunter3=1",
    ] {
        assert_eq!(refused(&["serve", "--listen", "127.0.0.1:0", "--database-url", url]), expected, "{url}");
        let file = settings_file("bad_database.toml", &format!("database_url = \"{url}\""));
        assert_eq!(refused(&["serve", "--listen", "127.0.0.1:0", "--config", &file]), expected, "{url}");
    }

    // No server listens on this port.
    let unreachable = "postgres://shop:hunter2@127.0.0.1:1/shop";
    let line = refused(&["serve", "--listen", "127.0.0.1:0", "--database-url", unreachable]);
    assert!(
        line.starts_with("ripcord: cannot start: cannot set up the database: transaction: cannot connect: "),
        "{line}"
    );
    assert!(line.contains("Connection refused") && !line.contains("hunter2"), "{line}");

    let backend = ["--backend", "http://127.0.0.1:1/search"];
    let line = refused(&[&["serve", "--database-url", unreachable][..], &backend].concat());
    assert!(line.starts_with("ripcord: database_url must be given without a backend"), "{line}");
    let file = settings_file("database.toml", &format!("database_url = \"{unreachable}\""));
    let line = refused(&[&["serve", "--config", &file][..], &backend].concat());
    assert!(line.starts_with("ripcord: database_url must be given without a backend"), "{line}");
}

/// Writes a file of settings, and returns its path.
fn settings_file(name: &str, text: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("a directory for this");
    path.into_os_string().into_string().expect("text")
}

#[test]
fn help_documents_each_setting_and_the_proxy_that_exposes_the_inspector() {
    let (code, stdout, _) = run(&["serve", "--help"]);
    let help = stdout.join("\n");
    assert_eq!(code, Some(0));
    for setting in [
        "--drain-delay",
        "--keep-alive",
        "--head-timeout",
        "--max-connections",
        "--max-head",
        "--no-inspector",
        "--inspector-token",
        "--database-url",
        "[default: 75s]",
        "[default: 30s]",
        "[default: 16384]",
        "[default: 131072]",
        "[default: 0s]",
        "proxy_pass http://127.0.0.1:8080;",
    ] {
        assert!(help.contains(setting), "no {setting} in {help}");
    }
}
