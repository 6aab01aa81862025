//! Servers of Redis that a test starts and stops.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ripcord_redis::{Client, ClientBuilder};

/// Time limit of a condition that holds soon.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns whether the tests can start servers. The environment variable `TESTS_WITHOUT_SERVERS` forbids it, so that a run of all
/// tests need not repeat what `scripts/redis` runs.
pub(crate) fn is_installed() -> bool {
    std::env::var_os("TESTS_WITHOUT_SERVERS").is_none()
        && Command::new("redis-server").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Polls until `condition` holds. Another process makes it hold, so no event in this process announces it.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sets the flag when it is dropped, so that the threads of a test also end if the test fails.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Creates a client of a server that is not paused.
pub(crate) fn client(server: &Server) -> Client {
    patient(Client::builder().url(server.url()))
}

/// Builds a client that waits long for a server that a busy machine holds up. A server that was killed refuses connections at once,
/// so a test that pauses no server needs no shorter timeout.
pub(crate) fn patient(builder: ClientBuilder) -> Client {
    let builder = builder.timeout(Duration::from_secs(10)).retry_every(Duration::from_millis(50));
    builder.build().expect("valid settings")
}

/// One process of redis-server. It is killed when this is dropped.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::with(&[])
    }

    /// Starts a server with settings, such as `["--maxmemory", "10mb"]`.
    pub(crate) fn with(settings: &[&str]) -> Server {
        // Another process may take the free port first.
        for _ in 0..10 {
            if let Some(server) = Server::try_start(free_port(), settings) {
                return server;
            }
        }
        panic!("no server could be started");
    }

    fn try_start(port: u16, settings: &[&str]) -> Option<Server> {
        let directory = Server::new_directory();
        let (port_text, directory_text) = (port.to_string(), directory.display().to_string());
        // Every write is in the file before it is answered, so a killed server has lost nothing. It does not wait for the disk,
        // which other programs keep busy.
        let own = [
            "--port",
            &port_text,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "no",
            "--dir",
            &directory_text,
        ];
        let arguments = own.iter().chain(settings).map(ToString::to_string).collect();
        Server::launch(port, directory, arguments)
    }

    /// Starts a sentinel with these lines of its file, which it changes.
    pub(crate) fn sentinel(lines: &str) -> Server {
        for _ in 0..10 {
            let (port, directory) = (free_port(), Server::new_directory());
            let file = directory.join("sentinel.conf");
            let text = format!("port {port}\nbind 127.0.0.1\ndir {}\n{lines}", directory.display());
            std::fs::write(&file, text).expect("the file of the sentinel");
            let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
            if let Some(server) = Server::launch(port, directory, arguments) {
                return server;
            }
        }
        panic!("no sentinel could be started");
    }

    fn new_directory() -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("ripcord-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the server");
        directory
    }

    /// Returns `None` if the server ends immediately, for example because its port is in use.
    fn launch(port: u16, directory: PathBuf, arguments: Vec<String>) -> Option<Server> {
        let process = spawn(&arguments);
        let mut server = Server { process, port, directory, arguments };
        server.is_up().then_some(server)
    }

    /// Waits until the server answers. Returns `false` if it ended instead.
    fn is_up(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if self.process.try_wait().expect("a child of this process").is_some() {
                return false;
            }
            if self.try_command(&["PING"]).is_some_and(|answer| answer.starts_with("+PONG")) {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "the server did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the ID of the process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Kills the server with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a child of this process");
        self.process.wait().expect("a child of this process");
    }

    /// Starts the server again on its port, with its data.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.arguments);
        assert!(self.is_up(), "the server did not start again");
    }

    /// Stops the server from running, without ending it.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Continues after [`pause`](Self::pause).
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.process.id().to_string()]).status();
        assert!(status.expect("the command kill").success());
    }

    /// Sends one command, and returns the answer in the format of the protocol.
    #[track_caller]
    pub(crate) fn command(&self, words: &[&str]) -> String {
        self.try_command(words).expect("the server answers")
    }

    /// Sends one command, and returns the answer, or `None` if the server does not answer.
    pub(crate) fn try_command(&self, words: &[&str]) -> Option<String> {
        Server::answer(self.send(words)?)
    }

    /// Sends one command, which a paused server runs after [`resume`](Self::resume).
    pub(crate) fn send(&self, words: &[&str]) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut request = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| request += &format!("${}\r\n{word}\r\n", word.len()));
        stream.write_all(request.as_bytes()).ok()?;
        // The server answers, then sees the end and closes the connection. A sentinel knows no QUIT.
        stream.shutdown(std::net::Shutdown::Write).ok()?;
        Some(stream)
    }

    /// Waits for the answer to a command that was [sent](Self::send).
    pub(crate) fn answer(mut stream: TcpStream) -> Option<String> {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _ended_already = self.process.wait();
        let _in_use = std::fs::remove_dir_all(&self.directory);
    }
}

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

/// Returns a port that nothing listens on, and that no other test of this process gets.
///
/// It is below the ports that the system gives to connections, and so is its cluster port, 10,000 above. Otherwise the port of a
/// server that is down for a moment could become the port of a connection. (A client that connects to it could even get this port
/// itself, and then be connected to itself.)
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 10_000;
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    // Test programs that run at the same time begin at different ports.
    let start = std::process::id() % 25 * 400;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let next = |_| FIRST + (start + NUMBER.fetch_add(1, Ordering::Relaxed)) % COUNT;
    let mut ports = (0..COUNT).map(next).filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| is_free(*port) && is_free(*port + 10_000)).expect("a free port")
}
