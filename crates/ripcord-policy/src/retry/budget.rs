//! A budget of retries, shared by all who call one service.
//!
//! Limits on attempts bound what one call may cost; they do not bound what a service gets when it fails for everybody:
//! with four attempts, four times its load, at the worst moment. A budget does. Every retry takes tokens, every success
//! brings some back: in good times retries are free, in an outage they stop after a few hundred.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ConfigError;
use crate::config::at_least_one;

/// Tokens that retries and hedges take, and successes bring back. Share one per service called, in an `Arc`.
///
/// As in the AWS SDKs: 500 tokens, a retry costs 5, a retry after a timeout 10; a retry that succeeds brings back what
/// it cost, a first attempt that succeeds brings 1. Defaults are not a promise.
///
/// A retry around a hedge with the same budget each bring something back for a first success; in a [`Stack`](crate::Stack) only one
/// of them does.
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
    /// A budget with the defaults.
    pub fn new() -> Self {
        let BudgetBuilder { capacity, retry_cost, timeout_cost, success_refund } = BudgetBuilder::DEFAULT;
        RetryBudget { tokens: AtomicU32::new(capacity), capacity, retry_cost, timeout_cost, success_refund }
    }

    /// A budget with settings of your own.
    pub fn builder() -> BudgetBuilder {
        BudgetBuilder::DEFAULT
    }

    /// Takes `cost` tokens if there are as many. Dropping what is returned gives them back.
    pub fn try_spend(budget: &Arc<Self>, cost: u32) -> Option<Spent> {
        budget
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| tokens.checked_sub(cost))
            .ok()
            .map(|_| Spent { budget: Arc::clone(budget), cost })
    }

    /// Brings back `tokens`, up to the capacity.
    pub fn refund(&self, tokens: u32) {
        // A full budget, the usual state, is only read.
        if tokens > 0 && self.tokens() < self.capacity {
            let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(now.saturating_add(tokens).min(self.capacity))
            });
        }
    }

    /// What a first attempt's success brings back.
    pub fn refund_success(&self) {
        self.refund(self.success_refund);
    }

    /// Tokens there are now.
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Tokens when full.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// What a retry costs, after a timeout or after another failure.
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
pub struct Spent {
    budget: Arc<RetryBudget>,
    cost: u32,
}

impl Spent {
    /// The retry has been sent: the tokens are gone. Returns how many, to be refunded should it succeed.
    pub fn commit(mut self) -> u32 {
        std::mem::take(&mut self.cost)
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        self.budget.refund(self.cost);
    }
}

/// Builds a [`RetryBudget`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct BudgetBuilder {
    capacity: u32,
    retry_cost: u32,
    timeout_cost: u32,
    success_refund: u32,
}

impl BudgetBuilder {
    const DEFAULT: BudgetBuilder = BudgetBuilder { capacity: 500, retry_cost: 5, timeout_cost: 10, success_refund: 1 };

    /// Tokens at the beginning and at the most, at least as many as a retry costs.
    pub fn capacity(mut self, tokens: u32) -> Self {
        self.capacity = tokens;
        self
    }

    /// What a retry costs, at least 1.
    pub fn retry_cost(mut self, tokens: u32) -> Self {
        self.retry_cost = tokens;
        self
    }

    /// What a retry after a timeout costs, at least as much as another.
    pub fn timeout_cost(mut self, tokens: u32) -> Self {
        self.timeout_cost = tokens;
        self
    }

    /// What a first attempt's success brings back.
    pub fn success_refund(mut self, tokens: u32) -> Self {
        self.success_refund = tokens;
        self
    }

    /// The budget, full.
    ///
    /// # Errors
    ///
    /// Names the first setting out of bounds.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let BudgetBuilder { capacity, retry_cost, timeout_cost, success_refund } = self;
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
