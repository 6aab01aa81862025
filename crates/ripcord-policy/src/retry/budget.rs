//! A budget of retries, shared by all callers of one service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ConfigError;
use crate::config::at_least_one;

/// Limits the number of retries and hedges of all callers of one service. Retries and hedges take tokens, and successes refund
/// tokens.
///
/// Create one budget per called service, and share the budget in an `Arc`. Create it with [`new`](RetryBudget::new) or
/// [`builder`](RetryBudget::builder), and pass it to [`RetryBuilder::budget`](super::RetryBuilder::budget) and
/// [`HedgeBuilder::budget`](crate::hedge::HedgeBuilder::budget).
///
/// ```
/// use ripcord_policy::RetryBudget;
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let budget = Arc::new(RetryBudget::builder().capacity(10).build()?);
/// let first = RetryBudget::try_spend(&budget, 5).expect("ten tokens");
/// first.commit();                                            // the first retry has been sent
/// drop(RetryBudget::try_spend(&budget, 5));                  // the second retry never was
/// assert_eq!(budget.tokens(), 5);
/// # Ok(())
/// # }
/// ```
///
/// # Why a budget
///
/// The setting `max_attempts` bounds the cost of one call. It does not bound the load on the service in an outage: when the
/// calls of all callers fail, four attempts per call are four times the usual load. A budget bounds this load. While most calls
/// succeed, the refunds pay for the retries. In an outage the retries stop after about one hundred.
///
/// # Defaults
///
/// The defaults are the defaults of the AWS SDKs. A budget has 500 tokens. A retry costs 5 tokens, and a retry after a timeout
/// costs 10. A successful retry refunds its cost, and a successful first attempt refunds 1 token. The defaults may change.
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

    /// Creates a builder with the default settings.
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder::DEFAULT
    }

    /// Takes `cost` tokens. Returns `None` if the budget has fewer tokens.
    ///
    /// Call [`commit`](BudgetReservation::commit) when the retry is sent. Dropping the reservation before that returns the
    /// tokens to the budget.
    pub fn try_spend(budget: &Arc<Self>, cost: u32) -> Option<BudgetReservation> {
        budget
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| tokens.checked_sub(cost))
            .ok()
            .map(|_| BudgetReservation { budget: Arc::clone(budget), cost })
    }

    /// Returns `tokens` to the budget. Tokens above the capacity are lost.
    pub fn refund(&self, tokens: u32) {
        // A full budget, the usual state, is only read.
        if tokens > 0 && self.tokens() < self.capacity {
            let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(now.saturating_add(tokens).min(self.capacity))
            });
        }
    }

    /// Returns tokens to the budget for a successful first attempt. The number of tokens is the setting
    /// [`success_refund`](RetryBudgetBuilder::success_refund).
    pub fn refund_success(&self) {
        self.refund(self.success_refund);
    }

    /// Returns the number of tokens left.
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Returns the maximum number of tokens.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns the cost of a retry in tokens: after a timeout if `after_timeout` is true, otherwise after another failure.
    pub fn cost(&self, after_timeout: bool) -> u32 {
        if after_timeout { self.timeout_cost } else { self.retry_cost }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget::new()
    }
}

/// Tokens taken from a [`RetryBudget`] for a retry that is not sent yet. Dropping the reservation returns the tokens to the
/// budget.
#[derive(Debug)]
#[must_use = "dropping it gives the tokens back"]
pub struct BudgetReservation {
    budget: Arc<RetryBudget>,
    cost: u32,
}

impl BudgetReservation {
    /// Spends the tokens. Call this method when the retry is sent.
    ///
    /// Returns the number of tokens. Pass this number to [`RetryBudget::refund`] if the retry succeeds.
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

    /// Sets the maximum number of tokens, which is also the number at the start. The number must be at least the
    /// [`retry_cost`](Self::retry_cost). Default: 500.
    pub fn capacity(mut self, tokens: u32) -> Self {
        self.capacity = tokens;
        self
    }

    /// Sets the cost of a retry in tokens. The cost must be at least 1. Default: 5.
    pub fn retry_cost(mut self, tokens: u32) -> Self {
        self.retry_cost = tokens;
        self
    }

    /// Sets the cost of a retry after a timeout, in tokens. The cost must be at least the [`retry_cost`](Self::retry_cost).
    /// Default: 10.
    pub fn timeout_cost(mut self, tokens: u32) -> Self {
        self.timeout_cost = tokens;
        self
    }

    /// Sets the number of tokens that a successful first attempt refunds. Default: 1.
    pub fn success_refund(mut self, tokens: u32) -> Self {
        self.success_refund = tokens;
        self
    }

    /// Builds a budget with the maximum number of tokens.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting is out of bounds. The error names the first such setting.
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
