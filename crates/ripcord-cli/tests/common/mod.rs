//! Helpers: the real binary, started on a free port, and a minimal HTTP client.
//!
//! The helpers do not sleep. They wait for output and sockets, with a deadline far longer than the expected time.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// The maximum time to wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns a command that runs the binary.
fn ripcord(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ripcord"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running `ripcord serve`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// The address of the listener, such as `127.0.0.1:40123`.
    pub(crate) address: String,
    stderr: Receiver<String>,
}

impl Server {
    /// Starts `ripcord serve` on a free port. Waits until the service reports its address.
    pub(crate) fn start(args: &[&str]) -> Server {
        Server::spawn(ripcord(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()))
    }

    /// Starts the service with this command. Waits until the service reports its address.
    pub(crate) fn spawn(mut command: Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stdout = lines(child.stdout.take().expect("it is piped"));
        let stderr = lines(child.stderr.take().expect("it is piped"));
        let first = stdout.recv_timeout(PATIENCE).expect("the server says where it listens");
        let address = first.strip_prefix("Listening on http://").expect("a line with an address").to_owned();
        Server { child, address, stderr }
    }

    /// Returns the next line of the log that contains `part`. Discards the lines before.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, part: &str) -> String {
        self.log_until(part).pop().expect("the line that was waited for")
    }

    /// Returns the next lines of the log, up to the first line that contains `part`.
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

    /// Connects and sends a request for `path`. Does not read the answer.
    pub(crate) fn request(&self, path: &str) -> Exchange {
        self.send("GET", path)
    }

    /// Like [`request`](Self::request), with a deadline that is this many milliseconds away.
    pub(crate) fn request_within(&self, path: &str, milliseconds: u32) -> Exchange {
        self.send_with("GET", path, &format!("Connection: close\r\nx-request-timeout-ms: {milliseconds}\r\n"))
    }

    /// Like [`request`](Self::request), without asking for the close of the connection.
    pub(crate) fn request_kept(&self, path: &str) -> Exchange {
        self.send_with("GET", path, "")
    }

    /// Connects and sends a request without a body. Does not read the answer.
    pub(crate) fn send(&self, method: &str, path: &str) -> Exchange {
        self.send_with(method, path, "Connection: close\r\n")
    }

    fn send_with(&self, method: &str, path: &str, headers: &str) -> Exchange {
        // Taken before the server can start its timer, so that the measured time is never too short.
        let started = Instant::now();
        let mut stream = TcpStream::connect(&self.address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address).expect("it reads");
        Exchange { stream, started }
    }

    /// Sends TERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is a child of ours");
    }

    /// Sends INT, like Ctrl-C.
    #[cfg(unix)]
    pub(crate) fn interrupt(&self) {
        use rustix::process::{Pid, Signal, kill_process};
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it is a child of ours");
    }

    /// Waits for the end of the process. Returns its exit code and the lines of the log that have not been read.
    pub(crate) fn wait(&mut self) -> (Option<i32>, Vec<String>) {
        // The log ends with the process, and a wait for the end of the log can have a deadline.
        let rest = until_closed(&self.stderr);
        (self.child.wait().expect("it is a child of ours").code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary to its end. Returns its exit code and the lines of its stdout and stderr.
pub(crate) fn run(args: &[&str]) -> (Option<i32>, Vec<String>, Vec<String>) {
    let mut child = ripcord(args).spawn().expect("it starts");
    let stdout = lines(child.stdout.take().expect("it is piped"));
    let stderr = lines(child.stderr.take().expect("it is piped"));
    let output = (until_closed(&stdout), until_closed(&stderr));
    (child.wait().expect("it is a child of ours").code(), output.0, output.1)
}

/// Returns all lines until the writer closes the pipe.
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
            // The test may have dropped the receiver. The pipe is drained anyway, so that the child never blocks on the pipe.
            let _ = sender.send(line.unwrap_or_default());
        }
    });
    receiver
}

/// A request that has been sent. Dropping this value disconnects the client.
#[derive(Debug)]
pub(crate) struct Exchange {
    stream: TcpStream,
    started: Instant,
}

impl Exchange {
    /// Closes the sending half of the connection. The answer can still be read.
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

/// An answer that was read completely.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) took: Duration,
}

impl Answer {
    /// Returns the header with this name, which is in lower case. Panics unless there is exactly one such header.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(other, _)| other == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value,
            _ => panic!("{name} is not there once: {self:?}"),
        }
    }
}
