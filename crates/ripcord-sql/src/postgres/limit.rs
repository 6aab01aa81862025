//! The `statement_timeout` of a session, which ends a statement in the server if the client cannot cancel it.

use std::time::Duration;

use ripcord::Context;

/// The `statement_timeout` of a session. All times are in milliseconds; 0 is no limit.
#[derive(Debug)]
pub(super) struct Limit {
    /// The session's own setting. No context extends it.
    default: u32,
    /// The current setting. `None` if it is unknown.
    current: Option<u32>,
}

impl Limit {
    pub(super) fn new(default: u32) -> Self {
        Limit { default, current: Some(default) }
    }

    /// Returns the setting for a statement with this context.
    pub(super) fn wanted(&self, ctx: &Context) -> u32 {
        let left = ctx.remaining().map_or(0, rounded);
        match (left, self.default) {
            (0, default) => default,
            (left, 0) => left,
            (left, default) => left.min(default),
        }
    }

    /// Returns the setting to send. Returns `None` if it is equal to the current setting.
    pub(super) fn change(&self, ctx: &Context) -> Option<u32> {
        let wanted = self.wanted(ctx);
        (self.current != Some(wanted)).then_some(wanted)
    }

    /// Records the current setting of the session. `None` if it is unknown.
    pub(super) fn set(&mut self, current: Option<u32>) {
        self.current = current;
    }
}

/// Minimum limit: one second. The limit also applies to the statement that sets the next limit, and the server may be busy. If the
/// limit ended that statement, the next borrower would keep a limit that is not its own.
const MIN: u128 = 1000;
const MAX: u128 = i32::MAX as u128;

/// Returns the time in milliseconds, rounded up by at most an eighth, so that calls with about the same time left have the same
/// value.
fn rounded(left: Duration) -> u32 {
    let milliseconds = left.as_nanos().div_ceil(1_000_000).clamp(MIN, MAX);
    let bits = u128::BITS - milliseconds.leading_zeros();
    let unit = 1_u128 << (bits - 4);
    u32::try_from(milliseconds.next_multiple_of(unit).min(MAX)).expect("it is at most `MAX`")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ripcord::{Clock, Context};

    use super::{Limit, rounded};

    #[test]
    fn time_is_rounded_up_by_at_most_an_eighth() {
        for milliseconds in (1000..10_000).chain([86_400_000, i32::MAX as u64]) {
            let rounded = u64::from(rounded(Duration::from_millis(milliseconds)));
            assert!(rounded >= milliseconds && rounded - milliseconds <= milliseconds / 8, "{milliseconds}: {rounded}");
        }
        assert_eq!(rounded(Duration::from_nanos(1)), rounded(Duration::from_secs(1)));
        assert_eq!(rounded(Duration::MAX), i32::MAX as u32);
        assert_eq!(rounded(Duration::from_micros(4_999_900)), rounded(Duration::from_micros(4_900_000)));
    }

    #[test]
    fn context_never_extends_the_default() {
        let (clock, _time) = Clock::manual();
        let ctx = Context::background().with_clock(clock);
        let hour = ctx.with_timeout(Duration::from_secs(3600));
        let second = ctx.with_timeout(Duration::from_secs(1));
        let limit = Limit::new(30_000);
        assert_eq!((limit.wanted(&ctx), limit.wanted(&hour)), (30_000, 30_000));
        assert_eq!(limit.wanted(&second), rounded(Duration::from_secs(1)));
        assert_eq!(limit.change(&hour), None);
    }

    #[test]
    fn unknown_setting_is_sent_again() {
        let ctx = Context::background();
        let mut limit = Limit::new(0);
        assert_eq!(limit.change(&ctx), None);
        limit.set(None);
        assert_eq!(limit.change(&ctx), Some(0));
    }
}
