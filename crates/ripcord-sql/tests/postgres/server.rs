//! A Postgres of the tests' own: in a temporary directory, on a private socket, ended with the tests.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, process, thread};

/// The server accepts connections within this time, unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. It is killed, and its directory removed, when this is dropped.
pub(crate) struct Server {
    process: Child,
    directory: PathBuf,
}

/// A user who may run the server, which refuses to run as root.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Server {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// Returns the reason if there is no program to start. Panics if the program fails.
    pub(crate) fn start() -> Result<Server, String> {
        let programs = programs().ok_or("there is no Postgres server: run scripts/postgres")?;
        let directory = env::temp_dir().join(format!("ripcord-postgres-{}", process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("the temporary directory can be written");
        let user = unprivileged();
        if let Some(User { uid, gid }) = user {
            chown(&directory, Some(uid), Some(gid)).expect("root may change the owner");
        }
        let initdb = as_user(&programs.join("initdb"), user)
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "--pgdata=data",
            ])
            .current_dir(&directory)
            .output()
            .expect("initdb can be started");
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        let log = fs::File::create(directory.join("log")).expect("the directory is ours");
        let mut command = as_user(&programs.join("postgres"), user);
        command.arg("-D").arg(directory.join("data")).arg("-k").arg(&directory);
        for setting in ["listen_addresses=", "fsync=off", "max_connections=50", "deadlock_timeout=100ms"] {
            command.args(["-c", setting]);
        }
        let process = command
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it is open"))
            .stderr(log)
            .spawn()
            .expect("postgres can be started");
        let mut server = Server { process, directory };
        server.wait_until_ready();
        Ok(server)
    }

    /// Waits until the server logs that it accepts connections.
    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        while !self.log().contains("database system is ready to accept connections") {
            let ended = self.process.try_wait().expect("it is ours");
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "the server does not start: {}", self.log());
            // Another process writes the log, and its start has no other event to wait for.
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the path of the server's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    /// Returns settings with which a client connects.
    pub(crate) fn settings(&self) -> String {
        format!("host={} user=postgres dbname=postgres", self.directory.display())
    }

    /// Returns what the server has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // `QUIT` ends the server's processes at once.
        let _ = Command::new("kill").args(["-QUIT", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Returns the directory of the newest server that is installed. The environment variable `TESTS_WITHOUT_SERVERS` hides it, so that
/// a run of all tests need not repeat what `scripts/postgres` runs.
fn programs() -> Option<PathBuf> {
    if env::var_os("TESTS_WITHOUT_SERVERS").is_some() {
        return None;
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(io::Result::ok);
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(version).map(|path| path.join("bin"));
    let in_path = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    newest
        .into_iter()
        .chain(in_path)
        .find(|directory| directory.join("initdb").exists() && directory.join("postgres").exists())
}

/// Returns the user to run the server as, if these tests run as root.
fn unprivileged() -> Option<User> {
    let own = fs::metadata("/proc/self").ok()?.uid();
    if own != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some(User { uid: fields.next()?.ok()?, gid: fields.next()?.ok()? })
    };
    find("postgres").or_else(|| find("nobody"))
}

/// Returns a command that runs a program as a user. Where `setpriv` is installed, the program ends with this process, also if that is
/// killed.
fn as_user(program: &Path, user: Option<User>) -> Command {
    if Command::new("setpriv").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(User { uid, gid }) = user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]);
        }
        command.arg(program);
        return command;
    }
    let mut command = Command::new(OsString::from(program));
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    command
}
