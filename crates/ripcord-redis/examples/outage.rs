//! Draws a chart of a limiter over Redis. Redis is killed while requests arrive.
//!
//! Four clients, which stand for four processes, share a limit of 400 requests per second. Together they get 800 requests per
//! second. After 3 seconds Redis is killed, and after 6 seconds it is started again. `OnOutage::Local` divides the rate among the
//! four clients. The program prints an SVG file with the granted requests per second and the slowest decision in each tenth of a
//! second:
//!
//! ```sh
//! cargo run --release -p ripcord-redis --example outage > outage.svg
//! ```
//!
//! The program needs redis-server in the PATH, and uses a free port of the loopback interface.

#![expect(clippy::print_stdout, reason = "the chart is the output")]

use std::error::Error;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ripcord::Context;
use ripcord_policy::{Rate, RateLimiter};
use ripcord_redis::{Client, Limiter, OnOutage};

const PROCESSES: usize = 4;
const RATE: f64 = 400.0;
const BURST: u32 = 40;
/// The time between two requests of a process: 200 per second.
const PAUSE: Duration = Duration::from_millis(5);
const KILLED: Duration = Duration::from_secs(3);
const STARTED: Duration = Duration::from_secs(6);
const END: Duration = Duration::from_secs(9);
/// The duration that one point of the chart covers.
const STEP: Duration = Duration::from_millis(100);
const STEPS: usize = (END.as_millis() / STEP.as_millis()) as usize;

/// The decisions of one step.
#[derive(Clone, Copy, Default)]
struct Point {
    granted: u32,
    slowest: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut redis = Redis::start(port)?;
    let ctx = Context::background().with_name("load");
    let mut limiters = Vec::new();
    for _ in 0..PROCESSES {
        let client =
            Client::builder().url(format!("redis://127.0.0.1:{port}")).timeout(Duration::from_millis(250)).build()?;
        let backend = Limiter::new(&client, "search", OnOutage::Local);
        limiters.push(RateLimiter::builder().rate(Rate::per_second(RATE)).burst(BURST).backend(backend).build()?);
    }
    // The clients see each other after a heartbeat.
    ctx.sleep_blocking(Duration::from_secs(3))?;

    let start = Instant::now();
    let processes: Vec<_> =
        limiters.into_iter().map(|limiter| std::thread::spawn(move || load(&limiter, start))).collect();
    ctx.sleep_blocking(KILLED.saturating_sub(start.elapsed()))?;
    redis.kill()?;
    ctx.sleep_blocking(STARTED.saturating_sub(start.elapsed()))?;
    let _redis = Redis::start(port)?;
    let mut points = [Point::default(); STEPS];
    for process in processes {
        for (sum, point) in points.iter_mut().zip(process.join().expect("no panic")) {
            sum.granted += point.granted;
            sum.slowest = sum.slowest.max(point.slowest);
        }
    }
    println!("{}", chart(&points));
    Ok(())
}

/// Asks the limiter at fixed times, and returns what it decided.
fn load(limiter: &RateLimiter, start: Instant) -> [Point; STEPS] {
    let mut points = [Point::default(); STEPS];
    for number in 0.. {
        let due = PAUSE * number;
        let step = (due.as_millis() / STEP.as_millis()) as usize;
        let Some(point) = points.get_mut(step) else { break };
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let asked = Instant::now();
        if limiter.allow() {
            point.granted += 1;
        }
        point.slowest = point.slowest.max(asked.elapsed());
    }
    points
}

/// A server that is killed when this is dropped.
struct Redis(Child);

impl Redis {
    fn start(port: u16) -> std::io::Result<Redis> {
        let port = port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.stdout(Stdio::null()).spawn().map(Redis)
    }

    fn kill(&mut self) -> std::io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ended_already = self.kill();
    }
}

/// Draws the points as two panels of an SVG file that is readable on a light and on a dark page.
fn chart(points: &[Point; STEPS]) -> String {
    const WIDTH: f64 = 640.0;
    let x = |seconds: f64| 60.0 + seconds / END.as_secs_f64() * WIDTH;
    let times = (0..STEPS).map(|step| (step as f64 + 0.5) * STEP.as_secs_f64());
    let path = |values: Vec<f64>, top: f64, max: f64| {
        let points = times
            .clone()
            .zip(values)
            .map(|(time, value)| format!("{:.1},{:.1}", x(time), top + 120.0 - value.min(max) / max * 120.0));
        points.collect::<Vec<_>>().join(" ")
    };
    let granted = path(points.iter().map(|point| f64::from(point.granted) / STEP.as_secs_f64()).collect(), 60.0, 800.0);
    let slowest = path(points.iter().map(|point| point.slowest.as_secs_f64() * 1e3).collect(), 230.0, 60.0);
    let (killed, started) = (x(KILLED.as_secs_f64()), x(STARTED.as_secs_f64()));
    let axis = |top: f64, marks: [(&str, f64); 3]| {
        marks
            .map(|(text, y)| {
                let y = top + 120.0 - y * 120.0;
                format!(
                    "<path class=\"line\" d=\"M60 {y}H700\"/><text x=\"52\" y=\"{}\" text-anchor=\"end\">{text}</text>",
                    y + 7.0
                )
            })
            .concat()
    };
    let seconds: String = (0..=9)
        .map(|second| {
            format!("<text x=\"{}\" y=\"376\" text-anchor=\"middle\">{second} s</text>", x(f64::from(second)))
        })
        .collect();
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 394" role="img" aria-labelledby="title desc">
<title id="title">A limiter over Redis during an outage</title>
<desc id="desc">The granted requests per second stay at the limit of 400 before, during and after the outage, except for one burst of 40 when Redis is killed and one when it is back with an empty memory. No decision waits for the timeout of 250 ms.</desc>
<style>
text {{ font: 20px system-ui, sans-serif; fill: #57606a; }} .title {{ font-weight: 600; fill: #1f2328; }}
.line {{ stroke: #d0d7de; fill: none; }} .outage {{ fill: #cf222e; opacity: .08; }} .edge {{ stroke: #cf222e; stroke-dasharray: 4 3; fill: none; }}
.data {{ stroke: #0f766e; stroke-width: 2; fill: none; stroke-linejoin: round; }}
@media (prefers-color-scheme: dark) {{
text {{ fill: #9198a1; }} .title {{ fill: #f0f6fc; }} .line {{ stroke: #3d444d; }} .outage {{ fill: #ff7b72; opacity: .12; }} .edge {{ stroke: #ff7b72; }} .data {{ stroke: #45c4b6; }}
}}
</style>
<rect class="outage" x="{killed}" y="60" width="{width}" height="290"/>
<path class="edge" d="M{killed} 60V350M{started} 60V350"/>
<text x="{killed}" y="52" text-anchor="middle">Redis is killed</text><text x="{started}" y="52" text-anchor="middle">Redis is started again</text>
<text class="title" x="60" y="22">Granted requests per second (800 asked for, limit 400)</text>
{granted_axis}<polyline class="data" points="{granted}"/>
<text class="title" x="60" y="218">Slowest decision in ms (timeout of the clients: 250)</text>
{slowest_axis}<polyline class="data" points="{slowest}"/>
{seconds}
</svg>"#,
        width = started - killed,
        granted_axis = axis(60.0, [("0", 0.0), ("400", 0.5), ("800", 1.0)]),
        slowest_axis = axis(230.0, [("0", 0.0), ("30", 0.5), ("60", 1.0)]),
    )
}
