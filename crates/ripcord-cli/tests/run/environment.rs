//! Tests the environment variables between processes.

use crate::common::{Ended, RIPCORD, ripcord, run_sh, start};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Prints the variables of a context under `ripcord run` with these flags and variables.
fn variables(flags: &[&str], variables: &[(&str, &str)]) -> Ended {
    let script = "env | grep -E '^(RIPCORD_|TRACE|BAGGAGE)' | sort";
    let mut command = ripcord(&[flags, &["sh", "-c", script]].concat());
    command.envs(variables.iter().copied());
    start(command).end()
}

fn value(ended: &Ended, name: &str) -> Option<String> {
    ended.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
}

/// Returns the nanoseconds of `CLOCK_BOOTTIME`.
fn boottime() -> u64 {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let (seconds, hundredths) = uptime.split_whitespace().next().unwrap().split_once('.').unwrap();
    seconds.parse::<u64>().unwrap() * 1_000_000_000 + hundredths.parse::<u64>().unwrap() * 10_000_000
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn without_a_deadline_there_is_no_variable() {
    assert_eq!(variables(&[], &[]).stdout, "");
}

#[test]
fn deadline_is_in_nanoseconds_of_boottime_with_its_owner() {
    let before = boottime();
    let ended = variables(&["--timeout", "100s", "--name", "backup"], &[]);
    let deadline: u64 = value(&ended, "RIPCORD_DEADLINE").unwrap().parse().unwrap();
    assert!((before + 99 * SECOND..boottime() + 101 * SECOND).contains(&deadline), "{deadline}");
    assert_eq!(value(&ended, "RIPCORD_DEADLINE_NAME").as_deref(), Some("backup"));
    let ended = variables(&["--timeout", "100s"], &[]);
    assert_eq!(value(&ended, "RIPCORD_DEADLINE_NAME").as_deref(), Some("sh"));
}

#[test]
fn earlier_deadline_wins_and_an_inherited_deadline_is_passed_on_unchanged() {
    let inherited = (boottime() + 50 * SECOND).to_string();
    let outer = [("RIPCORD_DEADLINE", inherited.as_str()), ("RIPCORD_DEADLINE_NAME", "outer")];
    for flags in [&[][..], &["--timeout", "100s", "--name", "inner"]] {
        let ended = variables(flags, &outer);
        assert_eq!(value(&ended, "RIPCORD_DEADLINE").as_deref(), Some(inherited.as_str()));
        assert_eq!(value(&ended, "RIPCORD_DEADLINE_NAME").as_deref(), Some("outer"));
    }
    let ended = variables(&["--timeout", "20s", "--name", "inner"], &outer);
    assert!(value(&ended, "RIPCORD_DEADLINE").unwrap().parse::<u64>().unwrap() < boottime() + 21 * SECOND);
    assert_eq!(value(&ended, "RIPCORD_DEADLINE_NAME").as_deref(), Some("inner"));
}

#[test]
fn inherited_deadline_ends_the_command_and_the_last_line_names_its_owner() {
    let mut command = ripcord(&["--timeout", "60s", "sleep", "60"]);
    command.env("RIPCORD_DEADLINE", (boottime() + SECOND).to_string()).env("RIPCORD_DEADLINE_NAME", "nightly");
    let ended = start(command).end();
    assert_eq!(ended.code(), 124);
    assert_eq!(
        ended.stderr,
        "ripcord: sleep: deadline exceeded: the deadline of nightly (RIPCORD_DEADLINE) has passed, sent SIGTERM\n"
    );
}

#[test]
fn passed_inherited_deadline_starts_nothing() {
    for deadline in ["0", "1", "1000000"] {
        let mut command = ripcord(&["--timeout", "60s", "echo", "started"]);
        command.env("RIPCORD_DEADLINE", deadline);
        let ended = start(command).end();
        assert_eq!((ended.code(), ended.stdout.as_str()), (124, ""));
        assert_eq!(ended.stderr, "ripcord: echo: not started: the inherited deadline (RIPCORD_DEADLINE) has passed\n");
    }
}

#[test]
fn malformed_deadline_counts_as_absent() {
    for deadline in ["", "soon", "-5", "+5", "1.5", "5s", " 5", "0x10"] {
        let ended = variables(&[], &[("RIPCORD_DEADLINE", deadline), ("RIPCORD_DEADLINE_NAME", "outer")]);
        assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (0, "", ""), "{deadline:?}");
    }
}

#[test]
fn trace_goes_on_with_a_new_span_and_the_rest_is_unchanged() {
    let state = "rojo=00f067aa0ba902b7 ,congo=t61rcWkgMzE";
    let many: Vec<String> = (0..100).map(|n| format!("key{n}=value")).collect();
    let baggage = many.join(" , ");
    let given = [("TRACEPARENT", TRACEPARENT), ("TRACESTATE", state), ("BAGGAGE", baggage.as_str())];
    let ended = variables(&[], &given);
    let traceparent = value(&ended, "TRACEPARENT").unwrap();
    assert_eq!((&traceparent[..36], &traceparent[52..]), (&TRACEPARENT[..36], &TRACEPARENT[52..]));
    assert_ne!(traceparent, TRACEPARENT);
    assert_eq!(value(&ended, "TRACESTATE").as_deref(), Some(state));
    assert_eq!(value(&ended, "BAGGAGE").as_deref(), Some(baggage.as_str()));
}

#[test]
fn each_malformed_variable_is_dropped_alone() {
    let malformed = [
        ("TRACEPARENT", "00-42-b7-01"),
        ("TRACEPARENT", "00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        ("TRACESTATE", "UPPER=1"),
        ("BAGGAGE", "no equals sign"),
        ("BAGGAGE", "key=a\nb"),
    ];
    for (name, text) in malformed {
        let mut given = vec![("TRACEPARENT", TRACEPARENT), ("TRACESTATE", "a=1"), ("BAGGAGE", "k=v")];
        given.retain(|(other, _)| *other != name);
        given.push((name, text));
        let ended = variables(&[], &given);
        assert_eq!(value(&ended, name), None, "{name}={text}");
        assert_eq!(ended.stdout.lines().count(), 2, "{ended:?}");
    }
}

#[test]
fn each_attempt_is_a_span_of_its_own() {
    let mut command = ripcord(&["--retries", "1", "sh", "-c", "echo $TRACEPARENT; exit 1"]);
    command.env("TRACEPARENT", TRACEPARENT);
    let ended = start(command).end();
    let spans: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(spans.len(), 2);
    assert_ne!(spans[0], spans[1]);
}

#[test]
fn nested_run_sees_the_deadline_of_the_outer_one() {
    let inner = format!("'{RIPCORD}' run --timeout 1h --name inner sh -c 'echo $RIPCORD_DEADLINE_NAME'");
    assert_eq!(run_sh(&["--timeout", "60", "--name", "outer"], &inner).stdout, "outer\n");
    let inner = format!("'{RIPCORD}' run --timeout 5s --name inner sh -c 'echo $RIPCORD_DEADLINE_NAME'");
    assert_eq!(run_sh(&["--timeout", "60", "--name", "outer"], &inner).stdout, "inner\n");
}
