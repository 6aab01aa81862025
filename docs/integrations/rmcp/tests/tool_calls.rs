//! A client and a server in one process, on a manual clock.

use std::time::{Duration, Instant};

use recipe_rmcp::{Client, Error, call_tool, failed, report, request_context};
use ripcord::{Clock, Context, ManualTime};
use rmcp::{
    ErrorData, RoleClient, RoleServer, ServerHandler, ServiceExt as _,
    model::{CallToolRequestParams, CallToolResult, CancelledNotificationParam},
    service::{NotificationContext, RequestContext, RunningService},
    tool, tool_handler, tool_router,
};
use tokio::sync::mpsc;

const PAGE: Duration = Duration::from_secs(20);

/// The maximum real time to wait for a notification.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
struct Server {
    ctx: Context,
    /// Receives what happens on the server.
    events: mpsc::UnboundedSender<String>,
}

#[tool_router]
impl Server {
    #[tool(description = "Indexes three pages, and reports progress after each.")]
    async fn index(&self, request: RequestContext<RoleServer>) -> Result<String, ErrorData> {
        let ctx = request_context(&self.ctx, &request);
        for page in 1..=3 {
            self.events.send(format!("page {page}")).unwrap();
            ctx.sleep(PAGE).await.map_err(failed)?;
            report(&ctx, &request, f64::from(page), 3.0).await?;
        }
        Ok("3 pages".to_owned())
    }

    #[tool(description = "Returns the time left until the deadline.")]
    async fn time_left(&self, request: RequestContext<RoleServer>) -> String {
        format!("{:?}", request_context(&self.ctx, &request).remaining())
    }

    #[tool(description = "Waits until the request is canceled.")]
    async fn wait(&self, request: RequestContext<RoleServer>) -> Result<String, ErrorData> {
        let ctx = request_context(&self.ctx, &request);
        self.events.send("waiting".to_owned()).unwrap();
        let end = ctx.done().await;
        self.events.send(format!("{end}")).unwrap();
        Err(failed(end))
    }
}

#[tool_handler]
impl ServerHandler for Server {
    async fn on_cancelled(&self, canceled: CancelledNotificationParam, _: NotificationContext<RoleServer>) {
        self.events.send(canceled.reason.unwrap_or_default()).unwrap();
    }
}

struct Test {
    client: RunningService<RoleClient, Client>,
    /// The context of the client and the server.
    ctx: Context,
    time: ManualTime,
    events: mpsc::UnboundedReceiver<String>,
}

impl Test {
    async fn new() -> Test {
        let (clock, time) = Clock::manual();
        let ctx = Context::background().with_clock(clock);
        let (sender, events) = mpsc::unbounded_channel();
        let server = Server { ctx: ctx.clone(), events: sender };
        let (near, far) = tokio::io::duplex(4096);
        tokio::spawn(async move { server.serve(far).await.unwrap().waiting().await });
        Test { client: Client::default().serve(near).await.unwrap(), ctx, time, events }
    }

    async fn call(&self, ctx: &Context, tool: &'static str) -> Result<String, Error> {
        call_tool(ctx, &self.client, CallToolRequestParams::new(tool)).await.map(text)
    }
}

/// Returns the text of a result.
fn text(result: CallToolResult) -> String {
    result.content[0].as_text().unwrap().text.clone()
}

#[tokio::test]
async fn progress_keeps_a_long_call_alive() {
    let mut test = Test::new().await;
    let (ctx, idle) = test.ctx.with_idle_timeout(Duration::from_secs(30));
    let call = call_tool(&ctx, &test.client, CallToolRequestParams::new("index"));
    let pages = async {
        for page in 1..=3 {
            assert_eq!(test.events.recv().await.unwrap(), format!("page {page}"));
            let before = idle.get();
            test.time.wait_for_timers(2).await; // the idle timeout, and the sleep
            test.time.advance(PAGE);
            let started = Instant::now();
            while page < 3 && idle.get() == before {
                assert!(started.elapsed() < PATIENCE, "no progress after page {page}");
                tokio::task::yield_now().await; // until the client has received the notification
            }
        }
    };
    let (result, ()) = tokio::join!(call, pages);
    assert_eq!(text(result.unwrap()), "3 pages"); // after 60 seconds
}

#[tokio::test]
async fn silent_call_ends_after_the_idle_timeout() {
    let mut test = Test::new().await;
    let (ctx, _idle) = test.ctx.with_idle_timeout(Duration::from_secs(30));
    let call = call_tool(&ctx, &test.client, CallToolRequestParams::new("wait"));
    let silence = async {
        assert_eq!(test.events.recv().await.unwrap(), "waiting");
        test.time.advance(Duration::from_secs(30));
    };
    let (result, ()) = tokio::join!(call, silence);
    let Err(Error::Ended(end)) = result else { panic!("{result:?}") };
    assert!(end.is_deadline_exceeded());
    let mut events = [test.events.recv().await.unwrap(), test.events.recv().await.unwrap()];
    events.sort();
    assert_eq!(events[0], "context canceled"); // the context of the tool
    assert!(events[1].starts_with("context deadline exceeded (idle for 30s"), "{}", events[1]); // the client's reason
}

#[tokio::test]
async fn cancel_reaches_the_tool_and_its_reason_the_server() {
    let mut test = Test::new().await;
    let (ctx, cancel) = test.ctx.with_cancel();
    let call = call_tool(&ctx, &test.client, CallToolRequestParams::new("wait"));
    let canceling = async {
        assert_eq!(test.events.recv().await.unwrap(), "waiting");
        cancel.cancel_with("the user has closed the window");
    };
    let (result, ()) = tokio::join!(call, canceling);
    assert!(matches!(result, Err(Error::Ended(end)) if end.is_canceled()));
    let mut events = [test.events.recv().await.unwrap(), test.events.recv().await.unwrap()];
    events.sort();
    assert_eq!(events[0], "context canceled");
    assert!(events[1].starts_with("context canceled: the user has closed the window"), "{}", events[1]);
}

#[tokio::test]
async fn tool_knows_the_time_that_the_client_has_left() {
    let test = Test::new().await;
    let ctx = test.ctx.with_timeout(Duration::from_secs(5));
    assert_eq!(test.call(&ctx, "time_left").await.unwrap(), "Some(5s)");
    assert_eq!(test.call(&test.ctx, "time_left").await.unwrap(), "None");
}
