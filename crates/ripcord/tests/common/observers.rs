//! Every way in which a program can observe that a context has ended.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use ripcord::{Clock, Context, Error, ErrorKind};

use super::{HANG, MS, Wakes, other, poll};

macro_rules! observers {
    ($($(#[$condition:meta])? $observer:ident),*) => {
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(crate) enum Observer {
            $($(#[$condition])? $observer),*
        }

        pub(crate) const OBSERVERS: &[Observer] = &[$($(#[$condition])? Observer::$observer),*];
    };
}

observers!(
    IsDone,
    HotLoop,
    Err,
    Check,
    Cause,
    EndedAt,
    Done,
    DoneOwned,
    WaitTimeout,
    Run,
    RunWithGrace,
    AfterFunc,
    Sleep,
    Remaining,
    Merge,
    MergeInto,
    Child,
    TimedChild,
    Clone,
    Name,
    OtherClock,
    #[cfg(feature = "tokio-util")]
    Token
);

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Report {
    Lives,
    /// The context has ended. Contains how it ended, if the observer reports that.
    Ended(Option<(ErrorKind, String)>),
    /// The observer reports nothing in this case.
    Nothing,
}

fn told(error: Option<Error>) -> Report {
    error.map_or(Report::Lives, |error| {
        Report::Ended(Some((error.kind(), error.cause().map_or_else(String::new, ToString::to_string))))
    })
}

fn done(is_done: bool) -> Report {
    if is_done { Report::Ended(None) } else { Report::Lives }
}

fn ready(poll: Poll<Error>) -> Report {
    match poll {
        Poll::Ready(error) => told(Some(error)),
        Poll::Pending => Report::Lives,
    }
}

impl Observer {
    pub(crate) fn observe(self, ctx: &Context) -> Report {
        let wakes = Wakes::new();
        match self {
            Observer::IsDone => done(ctx.is_done()),
            // Called often enough that the reading of the clock is an old one.
            Observer::HotLoop => done((0..150).any(|_| ctx.is_done())),
            Observer::Err => told(ctx.err()),
            Observer::Check => told(ctx.check().err()),
            Observer::Cause => done(ctx.cause().is_some()),
            Observer::EndedAt => done(ctx.ended_at().is_some()),
            Observer::Done => ready(poll(&mut ctx.done(), &wakes)),
            Observer::DoneOwned => ready(poll(&mut ctx.done_owned(), &wakes)),
            Observer::WaitTimeout => told(ctx.wait_timeout(Duration::ZERO)),
            Observer::Run => match poll(&mut ctx.run(std::future::ready(())), &wakes) {
                Poll::Ready(result) => told(result.err()),
                Poll::Pending => unreachable!("the future is ready"),
            },
            Observer::RunWithGrace => match poll(&mut pin!(ctx.run_with_grace(MS, |_| std::future::ready(()))), &wakes)
            {
                Poll::Ready(result) => told(result.err()),
                Poll::Pending => unreachable!("the future is ready"),
            },
            Observer::AfterFunc => done(!ctx.after_func(|| {}).stop()),
            Observer::Sleep => match poll(&mut ctx.sleep(Duration::ZERO), &wakes) {
                Poll::Ready(result) => told(result.err()),
                Poll::Pending => Report::Lives,
            },
            Observer::Remaining => match ctx.remaining() {
                Some(Duration::ZERO) => Report::Ended(None),
                _ => Report::Nothing,
            },
            Observer::Merge => told(ctx.merge(&other()).err()),
            Observer::MergeInto => done(other().merge(ctx).is_done()),
            Observer::Child => told(ctx.with_cancel().0.err()),
            Observer::TimedChild => done(ctx.with_timeout(Duration::from_secs(60)).is_done()),
            Observer::Clone => done(ctx.clone().is_done()),
            Observer::Name => told(ctx.with_name("below").err()),
            Observer::OtherClock => told(ctx.with_clock(Clock::manual().0).err()),
            #[cfg(feature = "tokio-util")]
            Observer::Token => done(ctx.cancellation_token().is_cancelled()),
        }
    }
}

/// Asserts that every observer reports an end of `ctx`, and that all report the same end.
#[track_caller]
pub(crate) fn assert_all_report_an_end(ctx: &Context) {
    let story = told(ctx.err());
    for observer in OBSERVERS {
        match observer.observe(ctx) {
            Report::Ended(None) => {}
            report => assert_eq!(report, story, "{observer:?} of {ctx}"),
        }
    }
}

/// Calls `observer` until it reports the end of `ctx`. Panics if it never does.
#[track_caller]
pub(crate) fn observe_until_ended(observer: Observer, ctx: &Context) {
    let start = std::time::Instant::now();
    while !matches!(observer.observe(ctx), Report::Ended(_)) {
        assert!(start.elapsed() < HANG, "{observer:?} never reports the end of {ctx}");
    }
}
