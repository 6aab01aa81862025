//! A stream of tokens like the stream of a language model: slow, long, and not always complete.
//!
//! `cargo run --example streaming` requests five streams and prints how each stream ends. With an address, as in
//! `cargo run --example streaming 127.0.0.1:8080`, it serves `/chat/steady` and the others until Ctrl-C.
//!
//! A fixed timeout would also cut long streams that make progress. The idle timeout ends a stream only if no token was sent for
//! some time. The deadline still limits the whole stream.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use std::convert::Infallible;
use std::error::Error;
use std::future::IntoFuture as _;
use std::time::Duration;

use axum::{
    Router,
    extract::Path,
    response::sse::{Event, Sse},
    routing::get,
};
use futures::{Stream, stream};
use ripcord::{Context, Shutdown};
use ripcord_http::server::{ContextLayer, Ctx, Finished, RequestOutcome};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const DEADLINE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_millis(500);
const TOKEN: Duration = Duration::from_millis(50);

/// The model: `steady` sends eight tokens, `stalls` stops after three, `endless` never ends. It does not use the request.
async fn token(model: &str, number: usize) -> Option<String> {
    if model == "stalls" && number == 3 {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(TOKEN).await;
    (model != "steady" || number < 8).then(|| format!("token {number}"))
}

/// Sends tokens until the model has no more tokens or the server drains. The layer cuts the stream when the context ends.
async fn chat(Ctx(ctx): Ctx, Path(model): Path<String>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold((ctx, Some(0)), move |(ctx, number)| {
        let model = model.clone();
        async move {
            let number = number?;
            tokio::select! {
                // Sends a last event, so that the client reconnects to another server.
                () = ctx.draining() => Some((Ok(Event::default().event("draining").data("reconnect")), (ctx, None))),
                token = token(&model, number) => Some((Ok(Event::default().data(token?)), (ctx, Some(number + 1)))),
            }
        }
    }))
}

fn app(server: &Context, ends: UnboundedSender<String>) -> Router {
    let layer = ContextLayer::new(server).timeout(DEADLINE).idle_timeout(IDLE).on_end(move |request| {
        // There may be no receiver.
        let _ = ends.send(explain(request));
    });
    Router::new().route("/chat/{model}", get(chat)).layer(layer)
}

/// Describes the end of a request. A log would print the error with `{:#}`, which prints all details.
fn explain(request: &Finished<'_>) -> String {
    let is_idle = request.error.as_ref().is_some_and(|error| format!("{error:#}").contains("(idle for"));
    match request.outcome {
        RequestOutcome::DeadlineExceeded if is_idle => format!("no token for {IDLE:?}"),
        RequestOutcome::DeadlineExceeded => format!("longer than {DEADLINE:?}"),
        ref outcome => outcome.to_string(),
    }
}

/// Reads a stream until it ends, or until `enough` events have arrived. Returns the last event, and how the stream ended.
async fn read(mut response: reqwest::Response, enough: usize) -> Result<(String, &'static str), Box<dyn Error>> {
    let (mut events, mut last) = (0, String::new());
    while events < enough {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                for event in str::from_utf8(&chunk)?.split_terminator("\n\n") {
                    events += 1;
                    last = event.replace('\n', ", ");
                }
            }
            Ok(None) => return Ok((last, "complete")),
            Err(_) => return Ok((last, "cut off")),
        }
    }
    Ok((last, "left"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let shutdown = Shutdown::builder().context(&Context::background().with_name("serve")).build();
    let address = std::env::args().nth(1);
    let listener = ripcord_http::listen(address.as_deref().unwrap_or("127.0.0.1:0")).await?;
    let base = format!("http://{}/chat", listener.local_addr()?);
    let (sender, mut ends) = unbounded_channel();
    let app = app(shutdown.context(), sender);
    let serving = tokio::spawn(ripcord_http::serve(listener, app).shutdown(&shutdown).into_future());
    if address.is_some() {
        println!("Serving {base}/steady");
        shutdown.on_signals()?;
        serving.await?;
        return Ok(());
    }

    for (model, enough) in [("steady", usize::MAX), ("stalls", usize::MAX), ("endless", usize::MAX), ("endless", 2)] {
        println!("\n== {model}{}", if enough == 2 { ", and a client that leaves" } else { "" });
        let (last, end) = read(reqwest::get(format!("{base}/{model}")).await?, enough).await?;
        // The number of tokens before the deadline varies.
        let last = if end == "cut off" && model == "endless" { "some token" } else { &last };
        println!("client: {last}, then {end}");
        println!("server: {}", ends.recv().await.ok_or("no end")?);
    }

    println!("\n== endless, and a server that drains");
    let mut response = reqwest::get(format!("{base}/endless")).await?;
    response.chunk().await?;
    shutdown.begin("deployment");
    let (last, end) = read(response, usize::MAX).await?;
    println!("client: {last}, then {end}");
    println!("server: {}", ends.recv().await.ok_or("no end")?);
    serving.await?;
    Ok(())
}
