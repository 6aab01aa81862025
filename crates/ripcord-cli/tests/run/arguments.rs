//! Tests the flags, and the data that is passed on to the command.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
};

use crate::common::{Directory, RIPCORD, ripcord, run, run_sh, start};

#[test]
fn usage_error_is_one_line_that_names_the_flag_and_exits_with_125() {
    let cases: [(&[&str], &str); 12] = [
        (&["--timeout", "0", "true"], "--timeout"),
        (&["--timeout", "0ms", "true"], "--timeout"),
        (&["--timeout", "x", "true"], "--timeout"),
        (&["--timeout", "-5", "true"], "--timeout"),
        (&["--timeout=", "true"], "--timeout"),
        (&["--timeout"], "--timeout"),
        (&["--timeout", "9999999d", "true"], "--timeout"),
        (&["--grace", "0", "true"], "--grace"),
        (&["--deadline", "tomorrow", "true"], "--deadline"),
        (&["--retries", "-1", "true"], "--retries"),
        (&["--retries", "1.5", "true"], "--retries"),
        (&["--tiemout", "5", "true"], "--tiemout"),
    ];
    for (args, flag) in cases {
        let ended = run(args);
        assert_eq!(ended.code(), 125, "{args:?}: {ended:?}");
        assert!(ended.stderr.starts_with("ripcord: ") && ended.stderr.contains(flag), "{args:?}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {ended:?}");
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn missing_command_exits_with_125() {
    for args in [&[][..], &["--"], &["--timeout", "5"], &["--timeout", "5", "--"]] {
        let ended = run(args);
        assert_eq!((ended.code(), ended.stderr.lines().count()), (125, 1), "{ended:?}");
        assert!(ended.stderr.contains("no command"), "{ended:?}");
    }
}

#[test]
fn value_that_is_not_utf8_is_a_usage_error_that_names_the_flag() {
    for flag in ["--timeout", "--deadline", "--grace", "--retries"] {
        let ended = run(&[OsStr::new(flag), OsStr::from_bytes(b"\xff"), OsStr::new("true")]);
        assert_eq!(ended.code(), 125, "{ended:?}");
        assert!(ended.stderr.contains(flag), "{ended:?}");
    }
}

#[test]
fn flags_after_the_command_belong_to_the_command() {
    let ended = run(&["echo", "--timeout", "0", "--help", "--", "-x"]);
    assert_eq!(ended.stdout, "--timeout 0 --help -- -x\n");
    let ended = run(&["--", "echo", "--", "--grace"]);
    assert_eq!(ended.stdout, "-- --grace\n");
}

#[test]
fn help_is_a_manual_page_with_a_comparison() {
    for args in [&["--help"][..], &["-h"], &["--timeout", "5", "--help"]] {
        let ended = run(args);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
        for heading in
            ["NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS", "SIGNALS", "ENVIRONMENT", "COMPARISON WITH TIMEOUT"]
        {
            assert!(ended.stdout.lines().any(|line| line == heading), "{heading} in {}", ended.stdout);
        }
        assert!(ended.stdout.lines().all(|line| line.len() <= 85), "{}", ended.stdout);
    }
}

#[test]
fn arguments_and_environment_are_bytes() {
    let bytes = OsStr::from_bytes(b"a\xff\xfe b\n'\"$");
    let directory = Directory::new("bytes");
    let file = directory.path().join("out");
    let mut script = OsString::from("printf '%s|%s' \"$1\" \"$VARIABLE\" > ");
    script.push(&file);
    let args = [OsStr::new("sh"), OsStr::new("-c"), &script, OsStr::new("sh"), bytes];
    let mut command = ripcord(&args);
    command.env("VARIABLE", bytes);
    assert_eq!(start(command).end().code(), 0);
    assert_eq!(fs::read(&file).unwrap(), [bytes.as_bytes(), b"|", bytes.as_bytes()].concat());
}

#[test]
fn name_with_control_characters_stays_on_one_line() {
    let ended = run(&[
        OsStr::new("--name"),
        OsStr::from_bytes(b"a\nb\x1b[31m\xff"),
        OsStr::new("--timeout"),
        OsStr::new("1s"),
        OsStr::new("sleep"),
        OsStr::new("60"),
    ]);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (124, 1), "{ended:?}");
    assert!(ended.stderr.starts_with("ripcord: a\\nb\\u{1b}[31m\u{fffd}: deadline exceeded: "), "{ended:?}");
}

#[test]
fn command_inherits_only_the_descriptors_of_the_caller() {
    // The shell opens no descriptor to list its own descriptors.
    let list = "cd /proc/self/fd; echo *";
    let expected = run_plain(&format!("exec 7</dev/null; exec sh -c '{list}'"));
    let under = run_plain(&format!("exec 7</dev/null; exec \"$0\" run --timeout 60 sh -c '{list}'"));
    assert_eq!(under, expected);
    assert!(under.split_ascii_whitespace().any(|fd| fd == "7"), "{under}");
}

/// Runs a script, with the binary as `$0`.
fn run_plain(script: &str) -> String {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, RIPCORD]);
    start(command).end().stdout
}

#[test]
fn run_works_with_closed_standard_streams() {
    assert_eq!(run_plain("\"$0\" run cat <&-; echo $?"), "0\n");
    assert_eq!(run_plain("\"$0\" run --timeout 10ms sleep 60 2>&-; echo $?"), "124\n");
    assert_eq!(run_plain("\"$0\" run --timeout 10ms sleep 60 >&- 2>&- <&-; echo $?"), "124\n");
    assert_eq!(run_plain("\"$0\" run --timeout 10ms sleep 60 2>/dev/full; echo $?"), "124\n");
    // The reader of the pipe has ended when the last line is written.
    let script = "exec 3>&1; { \"$0\" run --timeout 100ms sleep 60 2>&1 >/dev/null; echo $? >&3; } | true";
    assert_eq!(run_plain(script), "124\n");
}

#[test]
fn script_without_an_interpreter_line_runs_in_the_shell() {
    let directory = Directory::new("script");
    let file = directory.path().join("script");
    fs::write(&file, "echo \"$1\"; exit 3\n").unwrap();
    let ended = run_sh(&[], &format!("chmod +x {}", file.display()));
    assert_eq!(ended.code(), 0);
    let ended = run(&[file.as_os_str(), OsStr::new("argument")]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "argument\n"));
}
