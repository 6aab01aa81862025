//! Worker processes: this test binary, started again.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ripcord::Shutdown;
use ripcord_redis::{Client, Queue};

use crate::server::Server;

/// The settings of a worker process, separated by spaces: the URL, the mode, the lease in milliseconds, the file for the numbers,
/// and the concurrency of the worker.
const VARIABLE: &str = "RIPCORD_REDIS_TEST_WORKER";

/// A worker process. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    file: PathBuf,
}

/// Starts a worker process. Its mode is `count` (each job ends immediately), `block` (no job ends), or `die` (the process ends).
pub(crate) fn start(server: &Server, mode: &str, lease: Duration) -> Process {
    start_with(&server.url(), mode, lease, 4)
}

pub(crate) fn start_with(url: &str, mode: &str, lease: Duration, concurrency: usize) -> Process {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("ripcord-redis-worker-{}-{number}", std::process::id()));
    File::create(&file).expect("a file for the numbers");
    let settings = format!("{url} {mode} {} {} {concurrency}", lease.as_millis(), file.display());
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(VARIABLE, settings).stdin(Stdio::null()).stdout(Stdio::null());
    Process { child: command.spawn().expect("this program starts"), file }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the process with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("a child of this process");
        self.child.wait().expect("a child of this process");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.id().to_string()]).status();
        assert!(status.expect("the command kill").success());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child of this process").is_some()
    }

    /// Returns the numbers for which the handler of the process has run and which it has already written.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let bytes = std::fs::read(&self.file).expect("the file of the process");
        bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes"))).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
        let _in_use = std::fs::remove_file(&self.file);
    }
}

/// Runs as a worker if this process was started as one.
pub(crate) fn run() -> Option<ExitCode> {
    let settings = std::env::var(VARIABLE).ok()?;
    let [url, mode, lease, file, concurrency] = settings.split(' ').collect::<Vec<_>>()[..] else {
        return Some(ExitCode::FAILURE);
    };
    let lease = Duration::from_millis(lease.parse().expect("milliseconds"));
    crate::queue_setup::block_on(work(url, mode, lease, file.as_ref(), concurrency.parse().expect("a number")));
    Some(ExitCode::SUCCESS)
}

async fn work(url: &str, mode: &str, lease: Duration, file: &Path, concurrency: usize) {
    let client = Client::builder();
    let client = match url.split_once(',') {
        Some(_) => client.cluster(url.split(',')),
        None => client.url(url),
    };
    let client = client.retry_every(Duration::from_millis(50)).build().expect("valid settings");
    // A job must not become a dead letter because the test kills its workers at random.
    let deliveries = if mode == "die" { 3 } else { 100 };
    let queue = Queue::<u64>::builder("numbers").client(&client).lease(lease).max_deliveries(deliveries);
    let queue = queue.build().expect("valid settings");
    let file = OpenOptions::new().append(true).open(file).expect("the file for the numbers");
    let (file, mode) = (std::sync::Arc::new(file), mode.to_owned());
    let shutdown = Shutdown::builder().build();
    let handler = move |_, n: u64| {
        let (file, mode) = (file.clone(), mode.clone());
        async move {
            (&*file).write_all(&n.to_le_bytes())?;
            match mode.as_str() {
                "block" => std::future::pending().await,
                "die" => std::process::abort(),
                _ => Ok::<_, std::io::Error>(()),
            }
        }
    };
    let retry = ripcord_policy::Retry::builder().build().expect("valid settings");
    let worker = queue.worker().concurrency(concurrency).retry(retry);
    worker.run(shutdown.context(), handler).await.expect("a worker that runs until it is killed");
}
