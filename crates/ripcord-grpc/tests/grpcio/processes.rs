//! Helpers: the processes of the tests, which are Python and the example `echo_server`.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use std::{env, fs, thread};

use serde_json::Value;

/// The maximum time to wait. Only a failing test waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Python interpreter with grpcio.
pub(crate) struct Python(PathBuf);

impl Python {
    /// Returns the Python interpreter that `scripts/grpcio` has installed.
    pub(crate) fn find() -> Result<Self, String> {
        // This test is `target/debug/deps/grpcio-0123`.
        let test = env::current_exe().expect("a running program has a path");
        let target = test.ancestors().nth(3).expect("the test is in target/PROFILE/deps");
        let python = target.join("grpcio/bin/python");
        let check = Command::new(&python).args(["-c", "import grpc, grpc_tools"]).stderr(Stdio::null()).status();
        match check {
            Ok(status) if status.success() => Ok(Python(python)),
            _ => Err(format!("{} has no grpcio: run scripts/grpcio", python.display())),
        }
    }

    fn command(&self, script: &str) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(&self.0);
        command.arg(root.join("tests/grpcio").join(script)).arg(root.join("proto")).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// Runs a case of `client.py`, which must succeed.
    #[track_caller]
    pub(crate) fn client(&self, address: SocketAddr, arguments: &[&str]) {
        let mut command = self.command("client.py");
        let output = command.arg(address.to_string()).args(arguments).output().expect("Python runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "client.py {arguments:?}: {}\n{errors}", output.status);
    }

    /// Starts a case of `client.py`. Waits for its first line.
    #[track_caller]
    pub(crate) fn started_client(&self, address: SocketAddr, case: &str) -> Process {
        let mut process = Process::start(self.command("client.py").arg(address.to_string()).arg(case));
        assert_eq!(process.line(), "started");
        process
    }

    /// Starts `server.py`.
    pub(crate) fn server(&self) -> (Process, SocketAddr) {
        let mut process = Process::start(&mut self.command("server.py"));
        let port = process.json()["port"].as_u64().expect("the first line has the port");
        (process, SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("a port"))))
    }
}

/// Starts the example.
pub(crate) fn echo_server(arguments: &[&str]) -> (Process, SocketAddr) {
    let mut command = Command::new(example());
    let mut process = Process::start(command.args(["--listen", "127.0.0.1:0"]).args(arguments));
    let mut listening = String::new();
    let errors = process.child.stderr.take().expect("it is piped");
    let mut errors = BufReader::new(errors);
    errors.read_line(&mut listening).expect("it is text");
    let address = listening.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok());
    let address = address.unwrap_or_else(|| panic!("the first line is {listening:?}"));
    process.errors = Some(Box::new(errors));
    (process, address)
}

/// Returns the path of the example. The example must have been built since its source changed.
fn example() -> PathBuf {
    let test = env::current_exe().expect("a running program has a path");
    let program = test.ancestors().nth(2).expect("the test is in target/PROFILE/deps").join("examples/echo_server");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/echo_server");
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let sources =
        fs::read_dir(source).expect("the directory exists").map(|entry| entry.expect("it can be read").path());
    let newest = sources.filter_map(|path| changed(&path)).max();
    assert!(
        changed(&program) >= newest,
        "{} is missing or older than its source: run `cargo build -p ripcord-grpc --examples` first",
        program.display()
    );
    program
}

/// A process that prints lines. The process is killed when this value is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    /// The rest of the process's stderr.
    errors: Option<Box<dyn Read>>,
    /// The input of the process. Closed when this value is dropped.
    _input: Option<ChildStdin>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program exists");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (send, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let input = child.stdin.take();
        Process { child, lines, errors: None, _input: input }
    }

    /// Waits for the next line.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("it prints no line"),
            Err(RecvTimeoutError::Disconnected) => panic!("it has ended: {}", self.take_errors()),
        }
    }

    /// Waits for the next line of JSON.
    #[track_caller]
    pub(crate) fn json(&mut self) -> Value {
        let line = self.line();
        assert_names_no_library(&line);
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Returns the next line of JSON, if it has been printed.
    pub(crate) fn next_json(&mut self) -> Option<Value> {
        let line = self.lines.try_recv().ok()?;
        assert_names_no_library(&line);
        Some(serde_json::from_str(&line).expect("a line of JSON"))
    }

    pub(crate) fn terminate(&self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(kill.expect("kill exists").success());
    }

    /// Waits for the end of the process, which must succeed. Returns the lines that have not been read.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Vec<String> {
        drop(self._input.take());
        let status = self.child.wait().expect("it is ours");
        let errors = self.take_errors();
        assert!(status.success(), "{status}: {errors}");
        assert_names_no_library(&errors);
        self.lines.iter().inspect(|line| assert_names_no_library(line)).collect()
    }

    fn take_errors(&mut self) -> String {
        let mut text = String::new();
        let errors = self.errors.take().or_else(|| Some(Box::new(self.child.stderr.take()?)));
        if let Some(mut errors) = errors {
            let _ = errors.read_to_string(&mut text);
        }
        text
    }
}

/// Checks that no source file of a library is in the output. The ends of contexts name lines of the example.
#[track_caller]
fn assert_names_no_library(output: &str) {
    assert!(!output.contains("/src/"), "names a source file of a library: {output}");
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
