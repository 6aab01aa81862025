//! Responses for the errors of `ripcord-policy`.

use std::error::Error as StdError;

use ripcord_policy::{Error, Outcome, Refused, SharedError};

use super::{
    Ended,
    ended::{self, Failure},
};
use crate::client;

/// Converts the error of a policy that refused a call without running it. The table of [`Ended`] lists the statuses.
///
/// ```
/// use http::{Response, StatusCode};
/// use ripcord::Context;
/// use ripcord_http::server::Ended;
/// use ripcord_policy::WorkerPool;
///
/// async fn handler(ctx: Context, pool: WorkerPool) -> Result<(), Ended> {
///     pool.submit(&ctx, |_| async { std::io::Result::Ok(()) }).await?;
///     Ok(())
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ctx = Context::background();
/// let pool = WorkerPool::builder().workers(1).build(&ctx)?;
/// pool.shutdown(&ctx).await?;
/// let response: Response<String> = handler(ctx, pool).await.unwrap_err().into();
/// assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
/// # Ok(())
/// # }
/// ```
impl From<Refused> for Ended {
    fn from(refused: Refused) -> Self {
        match of_refused(&refused) {
            Err(end) => end.into(),
            Ok(failure) => Ended::failed(failure, refused),
        }
    }
}

/// Converts the error of a call that ran under a policy. The table of [`Ended`] lists the statuses.
///
/// ```
/// use http::{Response, StatusCode};
/// use ripcord::Context;
/// use ripcord_http::server::Ended;
/// use ripcord_policy::CircuitBreaker;
///
/// async fn handler(ctx: Context, breaker: CircuitBreaker) -> Result<&'static str, Ended> {
///     Ok(breaker.run(&ctx, |_| async { Err(std::io::Error::other("disk on fire")) }).await?)
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let breaker = CircuitBreaker::builder("disk").consecutive_failures(1).build()?;
/// let mut statuses = Vec::new();
/// for _ in 0..2 {
///     let response: Response<String> = handler(Context::background(), breaker.clone()).await.unwrap_err().into();
///     statuses.push(response.status());
/// }
/// assert_eq!(statuses, [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE]); // the call's error, then open
/// # Ok(())
/// # }
/// ```
impl<E: StdError + Send + Sync + 'static> From<Error<E>> for Ended {
    fn from(error: Error<E>) -> Self {
        match of_call(&error) {
            Err(end) => end.into(),
            Ok(failure) => Ended::failed(failure, error),
        }
    }
}

/// Does what [`ended::classify`] does, for the types of `ripcord-policy`. Each nested call is one policy further inside.
pub(super) fn classify(error: &(dyn StdError + 'static)) -> Option<Result<Failure, ripcord::Error>> {
    fn call<E: StdError + 'static>(error: &(dyn StdError + 'static)) -> Option<Result<Failure, ripcord::Error>> {
        error.downcast_ref::<Error<E>>().map(of_call)
    }
    if let Some(shared) = error.downcast_ref::<SharedError>() {
        return ended::classify(shared.as_error());
    }
    let refused = error.downcast_ref::<Refused>().map(of_refused);
    refused
        .or_else(|| call::<client::Error>(error))
        .or_else(|| call::<Ended>(error))
        .or_else(|| call::<ripcord::Error>(error))
        .or_else(|| call::<SharedError>(error))
}

fn of_refused(refused: &Refused) -> Result<Failure, ripcord::Error> {
    if let Some(end) = refused.context_error() {
        return Err(end.clone());
    }
    Ok(if refused.is_deadline_exceeded() {
        Failure::DeadlineTooNear
    } else if refused.is_limited() {
        Failure::Limited
    } else {
        Failure::Rejected { retry_after: refused.retry_after() }
    })
}

fn of_call<E: StdError + 'static>(error: &Error<E>) -> Result<Failure, ripcord::Error> {
    let is_neutral = error.outcome() == Outcome::Neutral;
    let rejected = Failure::Rejected { retry_after: error.retry_after() };
    Ok(match error.context_error() {
        // This is the end of the caller's context, not of an attempt's context.
        Some(end) if is_neutral => return Err(end.clone()),
        _ if error.is_attempt_timeout() => Failure::TimedOut,
        // Also if a retry would have waited past the deadline for the policy to admit the call.
        _ if error.is_limited() => Failure::Limited,
        _ if error.is_breaker_open() || error.is_unavailable() || error.is_full() => rejected,
        _ if error.is_deadline_exceeded() => Failure::DeadlineTooNear,
        _ => match error.last().and_then(|error| ended::classify(error)) {
            Some(classified) => classified?,
            None if is_neutral => rejected,
            None => Failure::Call,
        },
    })
}
