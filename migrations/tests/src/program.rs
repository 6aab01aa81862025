//! Starts a program, sends requests to it, and stops it.

use std::{
    env,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};
use tokio::sync::{OnceCell, watch};

/// A running program that serves HTTP. It is killed when it is dropped.
pub struct Program {
    child: Child,
    /// The program's standard output. It must stay open, because the program writes to it.
    _stdout: BufReader<ChildStdout>,
    /// The lines that the program has written to standard error.
    log: watch::Receiver<Vec<String>>,
    /// The program's URL.
    pub url: String,
}

impl Program {
    /// Builds and starts the program of a package of this workspace, such as `service-tokio`.
    pub async fn of_package(package: &str, arguments: &[&str]) -> Program {
        static BUILT: OnceCell<()> = OnceCell::const_new();
        BUILT.get_or_init(build).await;
        // This test is in `deps`, beside the program.
        let test = env::current_exe().expect("the path of this test");
        let folder = test.parent().and_then(Path::parent).expect("target/debug");
        Program::start(folder.join(package).to_str().expect("a path in UTF-8"), arguments).await
    }

    /// Starts the program at `path`, which prints its address: `listening on 127.0.0.1:8080`.
    pub async fn start(path: &str, arguments: &[&str]) -> Program {
        let mut command = tokio::process::Command::new(path);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).env("NO_COLOR", "1");
        let mut child = command.kill_on_drop(true).spawn().expect("the program starts");
        let log = lines(child.stderr.take().expect("it is piped"));
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).await.expect("the program prints a line");
        let address = line.trim().strip_prefix("listening on ").expect("the line contains the address");
        Program { child, url: format!("http://{address}"), _stdout: stdout, log }
    }

    /// Sends SIGTERM to the program.
    pub fn terminate(&self) {
        let id = self.child.id().expect("the program runs").to_string();
        let status = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Waits until the program accepts no more connections.
    pub async fn stops_listening(&self) {
        let address = self.url.trim_start_matches("http://");
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the log has a line that contains `text`, for at most 30 seconds. Returns the line.
    pub async fn logs(&self, text: &str) -> String {
        let mut log = self.log.clone();
        let line = |log: &[String]| log.iter().find(|line| line.contains(text)).cloned();
        let logged = tokio::time::timeout(Duration::from_secs(30), log.wait_for(|log| line(log).is_some())).await;
        line(&logged.expect("the line within 30 seconds").expect("the program runs")).expect("waited for it")
    }

    /// Waits for the end of the program.
    pub async fn wait(mut self) -> ExitStatus {
        self.child.wait().await.expect("the program is our child")
    }
}

/// Reads lines in a task. The receiver sees all lines so far.
fn lines(input: impl AsyncRead + Send + Unpin + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    tokio::spawn(async move {
        let mut lines = BufReader::new(input).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            sender.send_modify(|all| all.push(line));
        }
    });
    receiver
}

/// Builds all programs of this workspace.
async fn build() {
    // In the profile of this test, since the program is taken from its folder.
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let arguments = ["build", "--quiet", "--workspace", "--profile", profile];
    let status = tokio::process::Command::new(env!("CARGO")).args(arguments).status().await;
    assert!(status.expect("cargo runs").success(), "the programs do not build");
}

/// The answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// The header `x-request-id`.
    pub request_id: Option<String>,
}

impl Answer {
    /// Returns the status and the body.
    pub fn text(&self) -> (u16, &str) {
        (self.status, &self.body)
    }
}

/// Sends a request with these headers, and returns the answer.
pub async fn send(url: String, headers: &[(&str, &str)]) -> Answer {
    let request =
        headers.iter().fold(reqwest::Client::new().get(url), |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.expect("the program answers");
    let id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let status = response.status().as_u16();
    Answer { status, body: response.text().await.expect("the body is complete"), request_id: id }
}
