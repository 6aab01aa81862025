//! Sends 500 requests to `/slow` of the real binary at once. Each answer must be 504. Prints the time of the slowest answer.
//!
//! `cargo build --release && cargo run --release --package ripcord-cli --example slow`. With `-- --gate`, the example also fails if
//! an answer took longer than 5.5 s. With `-- ADDRESS`, it uses a server that is already running with the default timeout.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    io::{self, BufRead as _, BufReader},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Number of clients. Each sends one request.
const CLIENTS: usize = 500;

/// Maximum duration of an answer with `--gate`. The timeout is five seconds.
const MAX_DURATION: Duration = Duration::from_millis(5500);

/// Time limit of one answer.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (flags, addresses): (Vec<_>, Vec<_>) = env::args().skip(1).partition(|argument| argument.starts_with("--"));
    if addresses.len() > 1 || flags.iter().any(|flag| flag != "--gate") {
        return Err("expected [--gate] [ADDRESS]".into());
    }
    let server = if addresses.is_empty() { Some(Server::start()?) } else { None };
    let address = server.as_ref().map_or_else(|| addresses[0].clone(), |server| server.address.clone());

    let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(exchange(address.clone()))).collect();
    let (mut answers, mut took) = (BTreeMap::new(), Vec::new());
    for client in clients {
        let (answer, time) = client.await?;
        *answers.entry(answer).or_insert(0) += 1;
        took.push(time);
    }
    took.sort();
    for (answer, count) in &answers {
        println!("{count} times {answer}");
    }
    let seconds = |time: Duration| time.as_secs_f64();
    println!("the median took {:.3} s, the slowest {:.3} s", seconds(took[CLIENTS / 2]), seconds(took[CLIENTS - 1]));

    let is_right = answers.keys().eq(["504 \"Request timed out\""]);
    let is_in_time = took[CLIENTS - 1] <= MAX_DURATION || !flags.contains(&"--gate".to_owned());
    Ok(if is_right && is_in_time { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Requests `/slow`. Returns the status and the body, or the error, and the time since before the connection was opened.
async fn exchange(address: String) -> (String, Duration) {
    let started = Instant::now();
    let answer = match timeout(PATIENCE, ask(&address)).await {
        Ok(Ok(text)) => match (text.strip_prefix("HTTP/1.1 "), text.split_once("\r\n\r\n")) {
            (Some(status), Some((_, body))) => format!("{} {body:?}", status.get(..3).unwrap_or_default()),
            _ => format!("no answer but {text:?}"),
        },
        Ok(Err(error)) => format!("no answer: {error}"),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    (answer, started.elapsed())
}

async fn ask(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /slow HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The binary, on a free port. Killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Result<Server, Box<dyn Error>> {
        // The binary is in the parent of the directory of the examples.
        let path =
            env::current_exe()?.parent().and_then(|examples| examples.parent()).map(|built| built.join("ripcord"));
        let path = path.ok_or("no directory above the examples'")?.with_extension(env::consts::EXE_EXTENSION);
        let mut command = Command::new(&path);
        command.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let child =
            command.spawn().map_err(|error| format!("cannot start {}: {error}; build it first", path.display()))?;
        let mut server = Server { child, address: String::new() };
        let mut line = String::new();
        BufReader::new(server.child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let address = line.trim_end().strip_prefix("Listening on http://");
        server.address = address.ok_or_else(|| format!("no address in {line:?}"))?.to_owned();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
