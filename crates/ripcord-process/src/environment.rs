//! The variables that carry a context into a child process, in both directions.

use std::env;
use std::error::Error as StdError;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::{Duration, Instant};

use http::HeaderValue;
use ripcord::{Context, Value};
use ripcord_http::trace_context::{Baggage, Traceparent, Tracestate};
use rustix::time::{ClockId, clock_gettime};

/// The deadline, in nanoseconds of `CLOCK_BOOTTIME`.
pub(crate) const DEADLINE: &str = "RIPCORD_DEADLINE";
/// The name of the deadline's owner.
pub(crate) const OWNER: &str = "RIPCORD_DEADLINE_NAME";
pub(crate) const TRACEPARENT: &str = "TRACEPARENT";
pub(crate) const TRACESTATE: &str = "TRACESTATE";
pub(crate) const BAGGAGE: &str = "BAGGAGE";

/// Adds the constructor [`Context::from_env`](FromEnv::from_env), which reads the deadline, the trace and the baggage that the
/// parent process has set in the environment.
///
/// Import this trait to call `Context::from_env()`. Only [`Context`] implements it.
pub trait FromEnv: sealed::Sealed + Sized {
    /// Creates a context with the deadline, the trace and the baggage in the environment of this process.
    ///
    /// [`Command`](crate::Command) and `ripcord run` set these variables for their child processes:
    ///
    /// | variable | effect on the context |
    /// |---|---|
    /// | `RIPCORD_DEADLINE`, in nanoseconds of `CLOCK_BOOTTIME` | the deadline, with an [`InheritedDeadline`] as its cause and as a value |
    /// | `RIPCORD_DEADLINE_NAME` | [`InheritedDeadline::owner`] |
    /// | `TRACEPARENT` | the value [`Traceparent`], so that calls through `ripcord-http` and child processes continue the trace |
    /// | `TRACESTATE` | the value [`Tracestate`] |
    /// | `BAGGAGE` | the value [`Baggage`] |
    ///
    /// Malformed variables are ignored. If the deadline has passed, the context has already ended. If none of the variables is
    /// set, the context is [`Context::background`].
    ///
    /// `CLOCK_BOOTTIME` includes the time for which the machine is suspended. The deadline of a context is an [`Instant`], which
    /// does not include this time. This function converts the deadline when it is called. So a child process that calls this
    /// function after a suspension may have less time than its parent, but never more.
    ///
    /// ```
    /// use ripcord::Context;
    /// use ripcord_process::FromEnv;
    ///
    /// let ctx = Context::from_env();
    /// assert!(ctx.deadline().is_none()); // nothing has set a deadline for this test
    /// ```
    #[track_caller]
    fn from_env() -> Self;
}

impl FromEnv for Context {
    #[track_caller]
    fn from_env() -> Context {
        read(|name| env::var_os(name))
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for ripcord::Context {}
}

/// The deadline that the parent process has set for this process, in the variable `RIPCORD_DEADLINE`.
///
/// [`Context::from_env`](FromEnv::from_env) adds an `InheritedDeadline` as a [`Value`] to the context. When the deadline passes,
/// the error of the context has this value as its [cause](ripcord::Error::cause).
///
/// ```
/// use ripcord_process::InheritedDeadline;
///
/// fn describe(error: &ripcord::Error) -> Option<String> {
///     let inherited = error.cause()?.downcast_ref::<InheritedDeadline>()?;
///     Some(format!("{inherited} has passed"))
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InheritedDeadline {
    /// The deadline in nanoseconds of `CLOCK_BOOTTIME`, as received.
    boottime: u64,
    deadline: Instant,
    owner: Option<OsString>,
}

impl InheritedDeadline {
    /// Returns the name of the context that set the deadline, in the parent process or one of its ancestors. Returns `None` if
    /// `RIPCORD_DEADLINE_NAME` is not set.
    pub fn owner(&self) -> Option<&OsStr> {
        self.owner.as_deref()
    }

    /// Returns the deadline, converted to an [`Instant`] of this process.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

impl fmt::Display for InheritedDeadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "the deadline of {} ({DEADLINE})", owner.to_string_lossy().escape_debug()),
            None => write!(f, "the inherited deadline ({DEADLINE})"),
        }
    }
}

impl StdError for InheritedDeadline {}

impl Value for InheritedDeadline {
    // A name and a time are not secret.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InheritedDeadline({self})")
    }
}

#[track_caller]
fn read(variable: impl Fn(&str) -> Option<OsString>) -> Context {
    let mut ctx = Context::background();
    let header = |name| HeaderValue::from_bytes(variable(name)?.as_bytes()).ok();
    if let Some(traceparent) = variable(TRACEPARENT).and_then(|text| Traceparent::decode(text.as_bytes()).ok()) {
        ctx = ctx.with_value(traceparent);
    }
    if let Some(tracestate) = header(TRACESTATE).and_then(|text| Tracestate::decode([&text]).ok().flatten()) {
        ctx = ctx.with_value(tracestate);
    }
    if let Some(baggage) = header(BAGGAGE).and_then(|text| Baggage::decode([&text]).ok().flatten()) {
        ctx = ctx.with_value(baggage);
    }
    let Some(boottime) = variable(DEADLINE).and_then(|text| parse(text.as_bytes())) else { return ctx };
    // The order matters: a pause between the two clock readings makes the deadline earlier, never later.
    let now = Instant::now();
    let left = Duration::from_nanos(boottime).checked_sub(boottime_now());
    let Some(deadline) = left.map_or_else(|| now.checked_sub(Duration::from_nanos(1)), |left| now.checked_add(left))
    else {
        // The deadline is later than any `Instant`.
        return ctx;
    };
    let owner = variable(OWNER).filter(|owner| !owner.is_empty());
    let inherited = InheritedDeadline { boottime, deadline, owner };
    ctx.with_value(inherited.clone()).with_deadline_cause(deadline, inherited)
}

/// Parses a number of nanoseconds, which must be ASCII digits. A number that is too large becomes the maximum.
fn parse(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |digit: &u8| u64::from(digit - b'0');
    Some(text.iter().fold(0, |number: u64, next| number.saturating_mul(10).saturating_add(digit(next))))
}

pub(crate) fn boottime_now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Returns each variable with its value for a child under `ctx`. `None` means that the child must not have the variable.
pub(crate) fn of_child(ctx: &Context) -> [(&'static str, Option<OsString>); 5] {
    let bytes = |header: HeaderValue| OsString::from_vec(header.as_bytes().to_vec());
    let (deadline, owner) = deadline_of_child(ctx).unzip();
    [
        (DEADLINE, deadline.map(|nanoseconds: u64| OsString::from(nanoseconds.to_string()))),
        (OWNER, owner.flatten()),
        (TRACEPARENT, ctx.value::<Traceparent>().map(|traceparent| OsString::from(traceparent.child().to_string()))),
        (TRACESTATE, ctx.value::<Tracestate>().map(|tracestate| bytes(tracestate.to_header()))),
        (BAGGAGE, ctx.value::<Baggage>().map(baggage_of_child)),
    ]
}

/// Returns the baggage as this process received it, if it has not changed. The limits apply to the baggage that is kept, not to the
/// baggage that is passed on.
fn baggage_of_child(baggage: &Baggage) -> OsString {
    let received = env::var_os(BAGGAGE).filter(|text| {
        let header = HeaderValue::from_bytes(text.as_bytes());
        header.is_ok_and(|header| Baggage::decode([&header]).ok().flatten().as_ref() == Some(baggage))
    });
    received.unwrap_or_else(|| OsString::from_vec(baggage.to_header().as_bytes().to_vec()))
}

fn deadline_of_child(ctx: &Context) -> Option<(u64, Option<OsString>)> {
    let deadline = ctx.deadline()?;
    if let Some(inherited) = ctx.value::<InheritedDeadline>().filter(|inherited| inherited.deadline == deadline) {
        return Some((inherited.boottime, inherited.owner.clone()));
    }
    // The order matters: a pause between the two clock readings makes the deadline earlier, never later.
    let now = boottime_now();
    let nanoseconds = u64::try_from((now + ctx.remaining()?).as_nanos()).unwrap_or(u64::MAX);
    let owner = ctx.deadline_origin().and_then(|origin| origin.name().map(|name| name.replace('\0', " ")));
    Some((nanoseconds, owner.map(OsString::from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(variables: &[(&str, &str)]) -> Context {
        read(|name| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| OsString::from(value)))
    }

    fn value_for_child(ctx: &Context, name: &str) -> Option<String> {
        let (_, value) = of_child(ctx).into_iter().find(|(other, _)| *other == name)?;
        value.map(|value| value.into_string().expect("it is UTF-8"))
    }

    #[test]
    fn malformed_deadline_counts_as_absent() {
        for text in ["", " ", "+5", "-5", "5 ", "5s", "0x5", "5.0", "٣", "1e9"] {
            let ctx = read_from(&[(DEADLINE, text), (OWNER, "outer")]);
            assert_eq!(ctx.to_string(), "Background", "{text:?}");
        }
    }

    #[test]
    fn passed_deadline_ends_the_context_with_its_owner() {
        for text in ["0", "1", "000"] {
            let error = read_from(&[(DEADLINE, text), (OWNER, "out\ner")]).err().expect("it has passed");
            assert!(error.is_deadline_exceeded());
            assert_eq!(error.cause().unwrap().to_string(), "the deadline of out\\ner (RIPCORD_DEADLINE)");
        }
    }

    #[test]
    fn huge_deadline_is_no_deadline() {
        for text in ["18446744073709551615", "99999999999999999999999999"] {
            assert_eq!(read_from(&[(DEADLINE, text)]).err().map(|error| error.to_string()), None);
        }
    }

    #[test]
    fn deadline_is_passed_on_unchanged_with_its_owner() {
        let later = u64::try_from((boottime_now() + Duration::from_secs(60)).as_nanos()).unwrap().to_string();
        let ctx = read_from(&[(DEADLINE, &later), (OWNER, "outer")]);
        assert!(ctx.remaining().unwrap() <= Duration::from_secs(60));
        let below = ctx.with_name("inner").with_timeout(Duration::from_secs(100));
        assert_eq!(value_for_child(&below, DEADLINE), Some(later));
        assert_eq!(value_for_child(&below, OWNER).as_deref(), Some("outer"));
    }

    #[test]
    fn deadline_that_passed_while_the_machine_was_suspended_has_passed_for_a_later_child() {
        // The state after a suspension of 20 s: `CLOCK_BOOTTIME` has advanced, and the clock of the parent's context has not.
        let boottime = u64::try_from((boottime_now() - Duration::from_secs(10)).as_nanos()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let inherited = InheritedDeadline { boottime, deadline, owner: None };
        let ctx = Context::background().with_value(inherited.clone()).with_deadline_cause(deadline, inherited);
        assert!(!ctx.is_done());
        let passed_on = value_for_child(&ctx, DEADLINE).unwrap();
        assert!(read_from(&[(DEADLINE, &passed_on)]).is_done());
    }

    #[test]
    fn earlier_deadline_replaces_the_inherited_one() {
        let later = u64::try_from((boottime_now() + Duration::from_secs(60)).as_nanos()).unwrap();
        let ctx = read_from(&[(DEADLINE, &later.to_string()), (OWNER, "outer")]);
        let below = ctx.with_name("inner").with_timeout(Duration::from_secs(10));
        assert!(value_for_child(&below, DEADLINE).unwrap().parse::<u64>().unwrap() < later);
        assert_eq!(value_for_child(&below, OWNER).as_deref(), Some("inner"));
    }

    #[test]
    fn context_without_deadline_passes_none_on() {
        let ctx = read_from(&[(DEADLINE, "99999999999999999"), (OWNER, "outer")]);
        assert_eq!(value_for_child(&ctx.without_cancel(), DEADLINE), None);
        assert_eq!(value_for_child(&ctx.without_cancel(), OWNER), None);
    }

    #[test]
    fn trace_goes_on_with_a_new_span() {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let ctx = read_from(&[(TRACEPARENT, traceparent), (TRACESTATE, " a=1 ,b=2"), (BAGGAGE, "k=v;p")]);
        let child = value_for_child(&ctx, TRACEPARENT).unwrap();
        assert_eq!((&child[..36], &child[52..]), (&traceparent[..36], &traceparent[52..]));
        assert_ne!(child, traceparent);
        assert_eq!(value_for_child(&ctx, TRACESTATE).as_deref(), Some(" a=1 ,b=2"));
        assert_eq!(value_for_child(&ctx, BAGGAGE).as_deref(), Some("k=v;p"));
    }

    #[test]
    fn malformed_trace_and_baggage_are_dropped() {
        let ctx = read_from(&[(TRACEPARENT, "00-42-b7-01"), (TRACESTATE, "A=1"), (BAGGAGE, "no equals sign")]);
        assert_eq!(ctx.to_string(), "Background");
        assert!(of_child(&ctx).iter().all(|(_, value)| value.is_none()));
    }
}
