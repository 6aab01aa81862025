//! The task that watches one command and ends it.
//!
//! 1. The leader is reaped last: after it has exited and no other process of the command is left. Until then, its process ID is not
//!    reused (invariant 1 of `tree`). The tree behind the lock is `None` once the leader is reaped.
//! 2. If the leader has exited before the supervisor checks, the exit counts, even if the context has ended meanwhile. The command
//!    returns the leader's status, and no signal is sent to the leader.
//! 3. `SIGTERM` is sent to a process at most once, because many programs stop at once when they receive a second one. After the
//!    first `SIGKILL`, every process that is found gets `SIGKILL`, until no process is found.
//! 4. If this task is dropped with its runtime, a thread kills and reaps the remaining processes.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::thread;
use std::time::{Duration, Instant};

use ripcord::{Canceler, Context, DoneOwned, Sleep, Span, SpanGuard};
use rustix::process::{Pid, WaitId};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix;
use tokio::sync::mpsc;

use crate::error::Run;
use crate::exit::Exit;
#[cfg(feature = "metrics")]
use crate::metrics::RunningCommand;
use crate::pidfd;
use crate::signal::Signal;
use crate::tree::{Member, Process, Tree, has_exited};

/// The time to wait for processes after `SIGKILL`. A process that waits for a broken disk cannot be ended.
const AFTER_KILL: Duration = Duration::from_secs(5);
/// The interval of the search for processes that were started while their parents were killed.
const BETWEEN_KILLS: Duration = Duration::from_millis(2);

/// Maximum number of processes to wait for at a time. When one has exited, the next is watched.
const MAX_WATCHED: usize = 16;

/// The state that the supervisor shares with the handles of a command.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The processes of the command. `None` once the leader is reaped.
    tree: Mutex<Option<Tree>>,
    /// The context that ends when `end` is set: the command and all its descendants have ended.
    pub(crate) ended: Context,
    end: OnceLock<Result<CommandEnd, Arc<io::Error>>>,
    requests: mpsc::UnboundedSender<Request>,
}

/// A request of a handle to the supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// Starts the grace period, because a signal that should end the command is sent.
    StartGrace,
    /// Kills the command at once.
    Kill,
}

/// The result of a command.
#[derive(Clone, Debug)]
pub(crate) struct CommandEnd {
    pub(crate) exit: Exit,
    /// The end of the context, if it ended the command.
    pub(crate) error: Option<ripcord::Error>,
}

impl Shared {
    pub(crate) fn end(&self) -> io::Result<CommandEnd> {
        match self.end.get() {
            Some(Ok(end)) => Ok(end.clone()),
            Some(Err(error)) => Err(io::Error::new(error.kind(), Arc::clone(error))),
            None => Err(io::Error::other("the runtime has shut down, so the command was killed")),
        }
    }

    /// Runs `act` on the tree, unless the command has ended.
    pub(crate) fn with_tree<T>(&self, act: impl FnOnce(&mut Tree) -> T) -> Option<T> {
        self.lock().as_mut().map(act)
    }

    pub(crate) fn request(&self, request: Request) {
        let _ended = self.requests.send(request);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tree>> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Supervisor {
    ctx: Context,
    grace: Duration,
    #[cfg(feature = "metrics")]
    metrics: RunningCommand,
    /// The leader. `None` once it is reaped.
    child: Option<Child>,
    pidfd: AsyncFd<OwnedFd>,
    /// Wakes at each `SIGCHLD`. `None` unless this process inherits orphans.
    orphans: Option<unix::Signal>,
    requests: mpsc::UnboundedReceiver<Request>,
    shared: Arc<Shared>,
    /// The command's span. `None` if its context has none. Declared before `_ended`, so that it has ended when the waiters wake.
    _span: Option<SpanGuard>,
    _ended: Canceler,

    done: Pin<Box<DoneOwned>>,
    is_killing: bool,
    /// The end of the grace period. After `SIGKILL`, the end of the wait for the processes.
    timer: Option<Pin<Box<Sleep>>>,
    error: Option<ripcord::Error>,
}

enum Event {
    /// The leader or a member has exited.
    Exited,
    Requested(Request),
    ContextEnded(ripcord::Error),
    TimeOver,
    OrphanExited,
}

impl Supervisor {
    pub(crate) fn new(
        ctx: &Context,
        run: &Run,
        child: Child,
        pidfd: AsyncFd<OwnedFd>,
        tree: Tree,
        orphans: Option<unix::Signal>,
    ) -> (Supervisor, Arc<Shared>) {
        let (ended, canceler) = Context::background().with_name("command").with_cancel();
        let (requests, received) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { tree: Mutex::new(Some(tree)), ended, end: OnceLock::new(), requests });
        // Without a parent, nobody would see the span.
        let span = ctx.span().map(|_| {
            let name = run.program.to_string_lossy().into_owned();
            Span::builder(name).location(run.location).start(ctx).1
        });
        let supervisor = Supervisor {
            ctx: ctx.clone(),
            grace: run.grace,
            #[cfg(feature = "metrics")]
            metrics: RunningCommand::start(&run.program, ctx),
            child: Some(child),
            pidfd,
            orphans,
            requests: received,
            shared: Arc::clone(&shared),
            _span: span,
            _ended: canceler,
            done: Box::pin(ctx.done_owned()),
            is_killing: false,
            timer: None,
            error: None,
        };
        (supervisor, shared)
    }

    pub(crate) async fn run(mut self) {
        let end = self.supervise().await.map_err(Arc::new);
        #[cfg(feature = "metrics")]
        match &end {
            Ok(end) => self.metrics.ended(Some(&end.exit), end.error.as_ref()),
            Err(_) => self.metrics.ended(None, None),
        }
        // Dropping the canceler then wakes the waiters.
        let _first = self.shared.end.set(end);
    }

    async fn supervise(&mut self) -> io::Result<CommandEnd> {
        self.until_exit().await?;
        let (left_behind, survivors) = self.end_members().await;
        let (is_leader_killed, tree_killed) = self.shared.with_tree(|tree| tree.killed()).unwrap_or_default();
        let status = self.reap()?;
        let killed = is_leader_killed && is_killed(status);
        let exit = Exit { status, killed, tree_killed, left_behind, survivors };
        Ok(CommandEnd { exit, error: self.error.take() })
    }

    /// Waits until the leader has exited. Ends the leader when its context ends.
    async fn until_exit(&mut self) -> io::Result<()> {
        let mut is_asked = false;
        loop {
            let event = poll_fn(|cx| match self.poll_exit(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(Event::Exited)),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => self.poll_event(cx, !is_asked).map(Ok),
            });
            let event = event.await?;
            // The runtime may not have noticed the exit yet (invariant 2). A request was made before the exit, and counts.
            if !matches!(event, Event::Requested(_)) && has_exited(WaitId::PidFd(self.pidfd.as_fd()))? {
                return Ok(());
            }
            match event {
                Event::Exited => return Ok(()),
                Event::ContextEnded(error) => {
                    is_asked = true;
                    // The context does not count as the reason if the command is already ending because of a signal or a kill.
                    if self.timer.is_none() {
                        self.error = Some(error);
                        self.shared.with_tree(|tree| tree.ask_to_end(Signal::TERM));
                        self.start_grace();
                    }
                }
                Event::Requested(Request::StartGrace) => self.start_grace(),
                Event::TimeOver if self.is_killing => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "it cannot be killed: it belongs to another user, or the kernel does not let it go",
                    ));
                }
                Event::Requested(Request::Kill) | Event::TimeOver => {
                    self.kill().await;
                }
                Event::OrphanExited => {
                    self.shared.with_tree(Tree::reap_orphans);
                }
            }
        }
    }

    /// Ends the processes that the leader has left. Returns the processes left behind by a leader that nobody ended, and the
    /// processes that cannot be ended.
    async fn end_members(&mut self) -> (Vec<Process>, Vec<Process>) {
        let mut members = self.look().await;
        // A handle makes its request before it sends the signal. So if the signal has ended the leader, the request is in the
        // channel.
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::StartGrace => self.start_grace(),
                Request::Kill => members = self.kill().await,
            }
        }
        let is_ended = self.timer.is_some() || self.is_killing;
        let left_behind = if is_ended { Vec::new() } else { members.iter().map(Member::describe).collect() };
        if !members.is_empty() && !self.is_killing {
            self.shared.with_tree(|tree| tree.ask_members_to_end(&members));
            self.start_grace();
        }
        let mut killed = HashSet::new();
        let mut refused = HashSet::new();
        loop {
            members.retain(|member| !refused.contains(&member.id()));
            if members.is_empty() {
                break;
            }
            if self.is_killing {
                refused.extend(members.iter().filter(|member| !member.signal(Signal::KILL)).map(Member::id));
                // New processes may have been started meanwhile, so the search is repeated at once.
                if members.iter().filter(|member| killed.insert(member.id())).count() > 0 {
                    members = self.kill().await;
                    continue;
                }
            }
            let event = self.member_event(&members).await;
            match event {
                Event::TimeOver if self.is_killing => break,
                Event::TimeOver | Event::Requested(Request::Kill) => members = self.kill().await,
                _ => members = self.look().await,
            }
        }
        let mut survivors: Vec<Process> = members.iter().map(Member::describe).collect();
        if !refused.is_empty() {
            let others = self.look().await;
            survivors.extend(others.iter().filter(|member| refused.contains(&member.id())).map(Member::describe));
        }
        (left_behind, survivors)
    }

    /// Waits until a member has exited, or for another event.
    async fn member_event(&mut self, members: &[Member]) -> Event {
        let open = members.iter().take(MAX_WATCHED).filter_map(Member::open);
        let watched: Vec<AsyncFd<OwnedFd>> = open.filter_map(|pidfd| pidfd::register(pidfd).ok()).collect();
        // A member may have just exited, or there are too few descriptors.
        let is_unwatched = watched.len() < members.len().min(MAX_WATCHED);
        let again = (self.is_killing || is_unwatched).then(|| Context::background().sleep(BETWEEN_KILLS));
        let mut again = again.map(Box::pin);
        poll_fn(|cx| {
            let is_again = again.as_mut().is_some_and(|again| again.as_mut().poll(cx).is_ready());
            if is_again || watched.iter().any(|member| member.poll_read_ready(cx).is_ready()) {
                return Poll::Ready(Event::Exited);
            }
            self.poll_event(cx, false)
        })
        .await
    }

    /// Polls all events except exits, in the order of their priority.
    fn poll_event(&mut self, cx: &mut TaskContext<'_>, watches_context: bool) -> Poll<Event> {
        if let Poll::Ready(Some(request)) = self.requests.poll_recv(cx) {
            return Poll::Ready(Event::Requested(request));
        }
        if watches_context && let Poll::Ready(error) = self.done.as_mut().poll(cx) {
            return Poll::Ready(Event::ContextEnded(error));
        }
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Event::TimeOver);
        }
        if let Some(orphans) = &mut self.orphans
            && orphans.poll_recv(cx).is_ready()
        {
            return Poll::Ready(Event::OrphanExited);
        }
        Poll::Pending
    }

    fn poll_exit(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = match self.pidfd.poll_read_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            };
            if has_exited(WaitId::PidFd(self.pidfd.as_fd()))? {
                return Poll::Ready(Ok(()));
            }
            ready.clear_ready();
        }
    }

    /// Starts the grace period on the context's clock, unless it has started.
    fn start_grace(&mut self) {
        if self.timer.is_none() {
            self.timer = Some(Box::pin(self.ctx.without_cancel().sleep(self.grace)));
        }
    }

    /// Kills the leader and all members. Returns the members.
    async fn kill(&mut self) -> Vec<Member> {
        if !self.is_killing {
            self.is_killing = true;
            // Uses the system's clock, because the time of another clock might stand still.
            self.timer = Some(Box::pin(Context::background().sleep(AFTER_KILL)));
        }
        self.on_tree(Tree::kill).await
    }

    async fn look(&mut self) -> Vec<Member> {
        self.on_tree(Tree::members).await
    }

    /// Runs `act`, which reads `/proc`, on a thread that may block. Without `/proc`, kills only the group.
    async fn on_tree(&mut self, act: fn(&mut Tree) -> io::Result<Vec<Member>>) -> Vec<Member> {
        let shared = Arc::clone(&self.shared);
        let acted = tokio::task::spawn_blocking(move || {
            shared.with_tree(|tree| {
                act(tree).unwrap_or_else(|_without_proc| {
                    tree.send_kill();
                    Vec::new()
                })
            })
        });
        acted.await.ok().flatten().unwrap_or_default()
    }

    /// Reaps the leader, which has exited. (Invariant 1.)
    fn reap(&mut self) -> io::Result<ExitStatus> {
        let mut tree = self.shared.lock();
        *tree = None;
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let Some(child) = self.child.take() else { return };
        let Some(tree) = self.shared.lock().take() else { return };
        kill_in_background(tree, child);
    }
}

/// Kills a command, and reaps it on another thread. The first signals are sent before this function returns.
fn kill_in_background(mut tree: Tree, mut child: Child) {
    let _without_proc = tree.kill();
    let thread = thread::Builder::new().name("ripcord-process".to_owned());
    // If no thread can be started, the killed command stays a zombie until this process exits.
    let _refused = thread.spawn(move || {
        let start = Instant::now();
        let pid = Pid::from_child(&child);
        loop {
            let is_alone = tree.kill().map_or(true, |members| members.is_empty());
            let is_over = start.elapsed() > AFTER_KILL;
            if is_over || is_alone && has_exited(WaitId::Pid(pid)).unwrap_or(true) {
                break;
            }
            thread::sleep(BETWEEN_KILLS);
        }
        drop(tree);
        let _status = child.wait();
    });
}

fn is_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(Signal::KILL.as_raw())
}
