//! A budget of retries, shared by all callers of one service.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::ConfigError;
use crate::config::at_least_one;

/// Limits the number of retries and hedges of all callers of one service. A retry or hedge takes tokens from the budget. A
/// successful call returns tokens to the budget.
///
/// Create one budget per called service with [`new`](RetryBudget::new) or [`builder`](RetryBudget::builder), and put it into an
/// `Arc`. Pass clones of the `Arc` to [`RetryBuilder::budget`](super::RetryBuilder::budget) and
/// [`HedgeBuilder::budget`](crate::hedge::HedgeBuilder::budget). The policies then take and return the tokens. The methods
/// below are for other code that retries.
///
/// ```
/// use ripcord_policy::RetryBudget;
/// use std::sync::Arc;
///
/// # fn main() -> Result<(), ripcord_policy::ConfigError> {
/// let budget = Arc::new(RetryBudget::builder().capacity(10).build()?);
/// let first = RetryBudget::try_spend(&budget, 5).expect("ten tokens");
/// first.commit();                             // this retry is sent
/// drop(RetryBudget::try_spend(&budget, 5));   // this retry is not sent, so its tokens return
/// assert_eq!(budget.tokens(), 5);
/// # Ok(())
/// # }
/// ```
///
/// # Why a budget
///
/// The setting [`max_attempts`](super::RetryBuilder::max_attempts) limits the attempts of one call. It does not limit the load
/// on the service in an outage: if the calls of all callers fail, four attempts per call are four times the usual load. A
/// budget limits this load. While most calls succeed, the returned tokens pay for the retries. In an outage, a budget with
/// the defaults pays for at most 100 retries.
///
/// # Defaults
///
/// The defaults are the defaults of the AWS SDKs. A budget has 500 tokens. A retry costs 5 tokens. A retry after an attempt
/// timeout costs 10 tokens. A hedge costs 5 tokens. A successful retry or hedge returns its cost. A successful first attempt
/// returns 1 token. The defaults may change.
#[derive(Debug)]
pub struct RetryBudget {
    tokens: AtomicU32,
    settings: RetryBudgetBuilder,
}

impl RetryBudget {
    /// Creates a budget with the [defaults](RetryBudget#defaults).
    ///
    /// If a retry stops because the budget is spent, the long text (`{:#}`) of the error shows the line that called `new`.
    #[track_caller]
    pub fn new() -> Self {
        RetryBudget::with(RetryBudgetBuilder::new())
    }

    /// Creates a builder with the [defaults](RetryBudget#defaults).
    ///
    /// If a retry stops because the budget is spent, the long text (`{:#}`) of the error shows the line that called `builder`.
    #[track_caller]
    pub fn builder() -> RetryBudgetBuilder {
        RetryBudgetBuilder::new()
    }

    fn with(settings: RetryBudgetBuilder) -> Self {
        RetryBudget { tokens: AtomicU32::new(settings.capacity), settings }
    }

    /// Takes `cost` tokens from the budget for a retry. Returns `None`, and takes no tokens, if the budget has fewer tokens.
    /// [`cost`](RetryBudget::cost) returns the cost of a retry.
    ///
    /// Call [`commit`](BudgetReservation::commit) when the retry is sent. Dropping the reservation without a `commit` returns
    /// the tokens to the budget.
    pub fn try_spend(budget: &Arc<Self>, cost: u32) -> Option<BudgetReservation> {
        budget
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| tokens.checked_sub(cost))
            .ok()
            .map(|_| BudgetReservation { budget: Arc::clone(budget), cost })
    }

    /// Returns `tokens` to the budget, for example after a successful retry: see [`BudgetReservation::commit`]. Tokens above
    /// the [`capacity`](RetryBudget::capacity) are lost.
    pub fn refund(&self, tokens: u32) {
        // A full budget, the usual case, is only read.
        if tokens > 0 && self.tokens() < self.capacity() {
            let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                Some(now.saturating_add(tokens).min(self.capacity()))
            });
        }
    }

    /// Returns tokens to the budget for a successful first attempt. The number of tokens is the setting
    /// [`success_refund`](RetryBudgetBuilder::success_refund).
    pub fn refund_success(&self) {
        self.refund(self.settings.success_refund);
    }

    /// Returns the number of tokens in the budget.
    pub fn tokens(&self) -> u32 {
        self.tokens.load(Ordering::Relaxed)
    }

    /// Returns the maximum number of tokens in the budget.
    pub fn capacity(&self) -> u32 {
        self.settings.capacity
    }

    /// Returns the cost of a retry in tokens. If `after_timeout` is true, this is the cost of a retry after an attempt timeout:
    /// [`timeout_cost`](RetryBudgetBuilder::timeout_cost). Otherwise it is the [`retry_cost`](RetryBudgetBuilder::retry_cost).
    pub fn cost(&self, after_timeout: bool) -> u32 {
        if after_timeout { self.settings.timeout_cost } else { self.settings.retry_cost }
    }

    /// Returns the line that created the budget's builder.
    pub(crate) fn built_at(&self) -> &'static Location<'static> {
        self.settings.built_at
    }
}

impl Default for RetryBudget {
    /// Creates a budget, like [`new`](RetryBudget::new).
    #[track_caller]
    fn default() -> Self {
        RetryBudget::new()
    }
}

/// Tokens taken from a [`RetryBudget`] for a retry that is not sent yet. Returned by [`RetryBudget::try_spend`]. Dropping the
/// reservation without a [`commit`](BudgetReservation::commit) returns the tokens to the budget.
#[derive(Debug)]
#[must_use = "dropping it gives the tokens back"]
pub struct BudgetReservation {
    budget: Arc<RetryBudget>,
    cost: u32,
}

impl BudgetReservation {
    /// Spends the tokens: they do not return to the budget on drop. Call this method when the retry is sent.
    ///
    /// Returns the number of spent tokens. If the retry succeeds, pass this number to [`RetryBudget::refund`].
    pub fn commit(mut self) -> u32 {
        std::mem::take(&mut self.cost)
    }
}

impl Drop for BudgetReservation {
    fn drop(&mut self) {
        self.budget.refund(self.cost);
    }
}

/// Builds a [`RetryBudget`]. Create the builder with [`RetryBudget::builder`]. All settings have
/// [defaults](RetryBudget#defaults).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct RetryBudgetBuilder {
    capacity: u32,
    retry_cost: u32,
    timeout_cost: u32,
    success_refund: u32,
    /// The line that created the builder.
    built_at: &'static Location<'static>,
}

impl RetryBudgetBuilder {
    #[track_caller]
    fn new() -> Self {
        let built_at = Location::caller();
        RetryBudgetBuilder { capacity: 500, retry_cost: 5, timeout_cost: 10, success_refund: 1, built_at }
    }

    /// Sets the maximum number of tokens in the budget. The budget starts with this number. The number must be at least the
    /// [`retry_cost`](Self::retry_cost). Default: 500.
    pub fn capacity(mut self, tokens: u32) -> Self {
        self.capacity = tokens;
        self
    }

    /// Sets the cost of a retry or hedge, in tokens. The cost must be at least 1. It must not be higher than the
    /// [`timeout_cost`](Self::timeout_cost) or the [`capacity`](Self::capacity). Default: 5.
    pub fn retry_cost(mut self, tokens: u32) -> Self {
        self.retry_cost = tokens;
        self
    }

    /// Sets the cost of a retry after an attempt timeout, in tokens. The cost must be at least the
    /// [`retry_cost`](Self::retry_cost). Default: 10.
    pub fn timeout_cost(mut self, tokens: u32) -> Self {
        self.timeout_cost = tokens;
        self
    }

    /// Sets the number of tokens that a successful first attempt returns to the budget. Default: 1.
    pub fn success_refund(mut self, tokens: u32) -> Self {
        self.success_refund = tokens;
        self
    }

    /// Builds the budget. It starts with the maximum number of tokens.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if a setting is out of bounds. The error names the first such setting.
    pub fn build(self) -> Result<RetryBudget, ConfigError> {
        let RetryBudgetBuilder { capacity, retry_cost, timeout_cost, .. } = self;
        at_least_one("retry_cost", retry_cost)?;
        if timeout_cost < retry_cost {
            return Err(ConfigError::new("timeout_cost", format!("at least retry_cost ({retry_cost})"), timeout_cost));
        }
        if capacity < retry_cost {
            return Err(ConfigError::new("capacity", format!("at least retry_cost ({retry_cost})"), capacity));
        }
        Ok(RetryBudget::with(self))
    }
}
