//! The real binary, started on a free port, and a client that speaks just enough HTTP.
//!
//! Nothing here sleeps: it waits on output and sockets, each with a deadline far beyond what is expected.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// When to give up on anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A command that runs the binary.
fn ripcord(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running `ripcord serve`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// What it listens on, as `127.0.0.1:40123`.
    pub(crate) address: String,
    stderr: Receiver<String>,
}

impl Server {
    /// Starts `ripcord serve` on a free port, and waits until it says it listens.
    pub(crate) fn start(args: &[&str]) -> Server {
        Server::spawn(ripcord(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()))
    }

    /// Starts the service with this command, and waits until it says it listens.
    pub(crate) fn spawn(mut command: Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stdout = lines(child.stdout.take().expect("it is piped"));
        let stderr = lines(child.stderr.take().expect("it is piped"));
        let first = stdout.recv_timeout(PATIENCE).expect("the server says where it listens");
        let address = first.strip_prefix("Listening on http://").expect("a line with an address").to_owned();
        Server { child, address, stderr }
    }

    /// The next line of the log that contains `part`. Lines before it are skipped for good.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, part: &str) -> String {
        self.log_until(part).pop().expect("the line that was waited for")
    }

    /// The next lines of the log, up to the first one that contains `part`.
    #[track_caller]
    pub(crate) fn log_until(&self, part: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            match self.stderr.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let is_last = line.contains(part);
                    lines.push(line);
                    if is_last {
                        return lines;
                    }
                }
                Err(error) => panic!("no line with {part:?} in the log ({error}), only {lines:#?}"),
            }
        }
    }

    /// Connects, sends a request for `path`, and leaves the answer to be read.
    pub(crate) fn request(&self, path: &str) -> Exchange {
        // Before the server can begin to count, so that what it takes is never seen as less.
        let started = Instant::now();
        let mut stream = TcpStream::connect(&self.address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).expect("it reads");
        Exchange { stream, started }
    }

    /// Sends a request on a connection that the client would keep.
    pub(crate) fn request_kept(&self, path: &str) -> Exchange {
        let started = Instant::now();
        let mut stream = TcpStream::connect(&self.address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).expect("it reads");
        Exchange { stream, started }
    }

    /// Sends TERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is a child of ours");
    }

    /// Sends INT, as Ctrl-C does.
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it is a child of ours");
    }

    /// Waits for the end of the process; returns its exit code and the lines of the log not yet seen.
    pub(crate) fn wait(&mut self) -> (Option<i32>, Vec<String>) {
        // The end of its log is its own end, and can be waited for with a deadline.
        let rest = until_closed(&self.stderr);
        (self.child.wait().expect("it is a child of ours").code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended: fine as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary to its end; returns its exit code and the lines of its stdout and stderr.
pub(crate) fn run(args: &[&str]) -> (Option<i32>, Vec<String>, Vec<String>) {
    let mut child = ripcord(args).spawn().expect("it starts");
    let stdout = lines(child.stdout.take().expect("it is piped"));
    let stderr = lines(child.stderr.take().expect("it is piped"));
    let output = (until_closed(&stdout), until_closed(&stderr));
    (child.wait().expect("it is a child of ours").code(), output.0, output.1)
}

/// All lines until the writer is gone.
fn until_closed(lines: &Receiver<String>) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    let mut all = Vec::new();
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => all.push(line),
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => panic!("the process does not end; so far {all:#?}"),
        }
    }
}

fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            // The test may have stopped listening; the pipe is drained all the same, so the child never blocks on it.
            let _ = sender.send(line.unwrap_or_default());
        }
    });
    receiver
}

/// A request that has been sent. Dropping it is a client going away.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: TcpStream,
    started: Instant,
}

impl Exchange {
    /// Says that nothing more is sent, and waits for the answer all the same.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("it is open");
    }

    /// Reads the answer to its end.
    pub(crate) fn answer(mut self) -> Answer {
        let mut text = String::new();
        self.stream.read_to_string(&mut text).expect("the server closes in order");
        let took = self.started.elapsed();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut head = head.lines();
        let status = head.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        Answer {
            status: status.expect("a status line"),
            headers: head
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            body: body.to_owned(),
            took,
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

impl Answer {
    /// The header of that name in lower case; panics when it is not there exactly once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value,
            _ => panic!("{name} is not there once: {self:?}"),
        }
    }
}
