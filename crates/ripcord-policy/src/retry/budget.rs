//! A budget of retries, shared by all callers of one service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ConfigError;
use crate::config::at_least_one;

/// Tokens that retries and hedges spend and successes refund. Share one per called service, in an `Arc`.
///
/// `max_attempts` bounds what one call costs. It does not bound the load on a service that fails for every caller: with four
/// attempts, four times the usual load, at the worst moment. A budget does: while calls succeed, retries are free; in an outage
/// they stop after about a hundred.
///
/// The defaults are those of the AWS SDKs: 500 tokens; a retry costs 5, a retry after a timeout 10; a retry that succeeds refunds
/// its cost, a first attempt that succeeds refunds 1. They are not a promise.
///
/// ```
/// use ripcord_policy::RetryBudget;
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let budget = Arc::new(RetryBudget::builder().capacity(10).build()?);
/// let first = RetryBudget::try_spend(&budget, 5).expect("ten tokens");
/// first.commit();                                            // the retry has been sent
/// drop(RetryBudget::try_spend(&budget, 5));                  // this one never was
/// assert_eq!(budget.tokens(), 5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    tokens: AtomicU32,
    capacity: u32,
    retry_cost: u32,
    timeout_cost: u32,
    success_refund: u32,
}

impl RetryBudget {
    /// Creates a budget with the defaults.
    pub fn new() -> Self {
        let RetryBudgetBuilder { capacity, retry_cost, timeout_cost, success_refund } = RetryBudgetBuilder::DEFAULT;
        RetryBudget { tokens: AtomicU32::new(capacity), capacity, retry_cost, timeout_cost, success_refund }
    }

    /// Creates a builder with the defaults.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder::DEFAULT
    }

    /// Takes `cost` tokens, or returns `None` if there are fewer. Dropping the reservation gives them back.
    pub fn try_spend(budget: &Arc<Self>, cost: u32) -> Option<BudgetReservation> {
        budget
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| tokens.checked_sub(cost))
            .ok()
            .map(|_| BudgetReservation { budget: Arc::clone(budget), cost })
    }

    /// Gives back `tokens`, up to the capacity.
    pub fn refund(&self, tokens: u32) {
        // A full budget, the usual state, is only read.
        if tokens > 0 && self.tokens() < self.capacity {
            let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(now.saturating_add(tokens).min(self.capacity))
            });
        }
    }

    /// Gives back what the success of a first attempt refunds.
    pub fn refund_success(&self) {
        self.refund(self.success_refund);
    }

    /// Returns the number of tokens left.
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Returns the number of tokens of a full budget.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the cost of a retry, after a timeout or after another failure.
    pub fn cost(&self, after_timeout: bool) -> u32 {
        if after_timeout { self.timeout_cost } else { self.retry_cost }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget::new()
    }
}

/// Tokens taken from a [`RetryBudget`] for a retry not yet sent; dropping it gives them back.
#[derive(Debug)]
#[must_use = "dropping it gives the tokens back"]
pub struct BudgetReservation {
    budget: Arc<RetryBudget>,
    cost: u32,
}

impl BudgetReservation {
    /// Spends the tokens, since the retry has been sent. Returns their number, to be refunded if the retry succeeds.
    pub fn commit(mut self) -> u32 {
        std::mem::take(&mut self.cost)
    }
}

impl Drop for BudgetReservation {
    fn drop(&mut self) {
        self.budget.refund(self.cost);
    }
}

/// Builds a [`RetryBudget`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RetryBudgetBuilder {
    capacity: u32,
    retry_cost: u32,
    timeout_cost: u32,
    success_refund: u32,
}

impl RetryBudgetBuilder {
    const DEFAULT: RetryBudgetBuilder =
        RetryBudgetBuilder { capacity: 500, retry_cost: 5, timeout_cost: 10, success_refund: 1 };

    /// Sets the number of tokens at the start, which is also the maximum; at least the cost of a retry.
    pub fn capacity(mut self, tokens: u32) -> Self {
        self.capacity = tokens;
        self
    }

    /// Sets the cost of a retry, at least 1.
    pub fn retry_cost(mut self, tokens: u32) -> Self {
        self.retry_cost = tokens;
        self
    }

    /// Sets the cost of a retry after a timeout, at least that of another retry.
    pub fn timeout_cost(mut self, tokens: u32) -> Self {
        self.timeout_cost = tokens;
        self
    }

    /// Sets what the success of a first attempt refunds.
    pub fn success_refund(mut self, tokens: u32) -> Self {
        self.success_refund = tokens;
        self
    }

    /// Builds the budget, full.
    ///
    /// # Errors
    ///
    /// Names the first setting out of bounds.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let RetryBudgetBuilder { capacity, retry_cost, timeout_cost, success_refund } = self;
        at_least_one("retry_cost", retry_cost)?;
        if timeout_cost < retry_cost {
            return Err(ConfigError::new("timeout_cost", format!("at least retry_cost ({retry_cost})"), timeout_cost));
        }
        if capacity < retry_cost {
            return Err(ConfigError::new("capacity", format!("at least retry_cost ({retry_cost})"), capacity));
        }
        Ok(RetryBudget { tokens: AtomicU32::new(capacity), capacity, retry_cost, timeout_cost, success_refund })
    }
}
