//! The limiters that decide in this process while Redis is unavailable.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use ripcord_policy::limiter::backend::{Claimed, Promise, Refunded};
use ripcord_policy::{KeyedLimiter, Quota, Rate, Reservation};

/// A limiter for each key, with this process's share of the quota. It stays in memory between outages, so that a later outage does
/// not grant another burst.
pub(super) struct Local(KeyedLimiter<LocalKey>);

#[derive(Clone)]
struct LocalKey {
    name: String,
    /// The share of this process.
    share: Quota,
}

impl PartialEq for LocalKey {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for LocalKey {}

impl Hash for LocalKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Local {
    pub(super) fn new() -> Self {
        let limiter = KeyedLimiter::builder()
            .rate(Rate::ZERO)
            .quota(|key: &LocalKey| Some(key.share))
            .build()
            .expect("a rate of zero is valid");
        Local(limiter)
    }

    /// Claims tokens of this process's share: the quota divided by the number of `peers`.
    pub(super) fn claim(
        &self,
        key: &str,
        quota: Quota,
        peers: usize,
        tokens: u32,
        longest: Option<Duration>,
        retry_after: Duration,
    ) -> Claimed {
        if tokens > quota.burst() && !quota.rate().is_infinite() {
            return Claimed::ExceedsBurst { burst: quota.burst() };
        }
        let key = LocalKey { name: key.to_owned(), share: share(quota, peers) };
        if longest == Some(Duration::ZERO) {
            return match self.0.allow_n(&key, tokens) {
                true => Claimed::Granted { delay: Some(Duration::ZERO), promise: None },
                false => Claimed::Late(self.delay(&key, tokens)),
            };
        }
        // The share never holds this many tokens, though the bucket in Redis may hold them.
        let Ok(reservation) = self.0.reserve_n(&key, tokens) else { return Claimed::Unavailable { retry_after } };
        let delay = reservation.delay();
        let is_never = delay == Duration::MAX;
        match longest {
            None if is_never => Claimed::Unavailable { retry_after },
            Some(longest) if delay >= longest && !delay.is_zero() => {
                reservation.cancel();
                Claimed::Late((!is_never).then_some(delay))
            }
            _ => {
                let promise: Box<dyn Promise> = Box::new(LocalPromise(reservation));
                Claimed::Granted { delay: Some(delay), promise: Some(promise) }
            }
        }
    }

    pub(super) fn tokens(&self, key: &str, quota: Quota, peers: usize) -> f64 {
        self.0.tokens(&LocalKey { name: key.to_owned(), share: share(quota, peers) })
    }

    /// Returns the time until the share holds `tokens`, or `None` for never.
    fn delay(&self, key: &LocalKey, tokens: u32) -> Option<Duration> {
        let missing = f64::from(tokens) - self.0.tokens(key);
        let delay = missing.max(0.0) / key.share.rate().tokens_per_second();
        if tokens > key.share.burst() { None } else { Duration::try_from_secs_f64(delay).ok() }
    }
}

/// Returns the share of one of `peers` processes. Its burst is at least 1.
fn share(quota: Quota, peers: usize) -> Quota {
    let peers = u32::try_from(peers).unwrap_or(u32::MAX).max(1);
    let rate = match quota.rate() {
        rate if rate.is_infinite() || peers == 1 => rate,
        rate => Rate::per_second(rate.tokens_per_second() / f64::from(peers)),
    };
    Quota::new(rate, (quota.burst() / peers).max(1)).expect("a part of a valid quota is valid")
}

#[derive(Debug)]
struct LocalPromise(Reservation);

impl Promise for LocalPromise {
    fn refund(self: Box<Self>, then: Refunded) {
        let tokens = self.0.tokens();
        then(if self.0.cancel() { tokens } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn share_is_the_quota_divided_by_the_peers() {
        let quota = |rate, burst| Quota::new(rate, burst).unwrap();
        assert_eq!(share(quota(Rate::per_second(100.0), 10), 4), quota(Rate::per_second(25.0), 2));
        assert_eq!(share(quota(Rate::per_second(100.0), 3), 4), quota(Rate::per_second(25.0), 1));
        assert_eq!(share(quota(Rate::INFINITE, 8), 4), quota(Rate::INFINITE, 2));
        assert_eq!(share(quota(Rate::every(SECOND), 8), 1), quota(Rate::every(SECOND), 8));
    }

    #[test]
    fn second_outage_grants_no_second_burst() {
        let local = Local::new();
        let quota = Quota::new(Rate::every(3600 * SECOND), 8).unwrap();
        let granted = |peers| {
            let claim = || local.claim("key", quota, peers, 1, Some(Duration::ZERO), SECOND);
            (0..20).filter(|_| matches!(claim(), Claimed::Granted { .. })).count()
        };
        assert_eq!((granted(2), granted(2), granted(4), granted(2)), (4, 0, 0, 0));
    }

    #[test]
    fn claims_of_a_share_are_answered_like_those_of_a_bucket() {
        let local = Local::new();
        let quota = Quota::new(Rate::per_second(2.0), 8).unwrap();
        let claim = |tokens, longest| local.claim("key", quota, 2, tokens, longest, SECOND);
        assert!(matches!(claim(9, None), Claimed::ExceedsBurst { burst: 8 }));
        assert!(matches!(claim(5, None), Claimed::Unavailable { retry_after: SECOND }), "the share holds 4");
        assert!(matches!(claim(4, None), Claimed::Granted { delay: Some(Duration::ZERO), .. }));
        assert!(matches!(claim(1, Some(SECOND / 10)), Claimed::Late(Some(delay)) if delay > SECOND / 2));
        assert!(matches!(claim(1, Some(Duration::ZERO)), Claimed::Late(Some(delay)) if delay > SECOND / 2));
        let Claimed::Granted { delay: Some(delay), promise: Some(promise) } = claim(2, None) else { panic!("granted") };
        assert!(delay > SECOND);
        let (sender, receiver) = std::sync::mpsc::channel();
        promise.refund(Box::new(move |tokens| sender.send(tokens).expect("the test waits")));
        assert_eq!(receiver.recv(), Ok(2));
    }
}
