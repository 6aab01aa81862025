//! The error of every builder, and the checks of settings.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The error of every builder, and of methods that change a setting: a setting is invalid.
///
/// The error shows the name of the setting, the bound of the setting and the given value. A setting has the same name as the
/// method of the builder that sets it.
///
/// ```
/// use ripcord_policy::ConfigError;
///
/// let error = ConfigError::new("burst", "at least 1", 0);
/// assert_eq!(error.field(), "burst");
/// assert_eq!(error.to_string(), "burst must be at least 1, got 0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Box<Broken>);

/// The content of a [`ConfigError`]. It is boxed because calls of a few nanoseconds return results that may hold the error.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Broken {
    field: &'static str,
    bound: Cow<'static, str>,
    given: String,
}

impl ConfigError {
    /// Creates an error with the text `{field} must be {bound}, got {given}`. `field` is the name of the setting, `bound`
    /// describes its valid values, and `given` is the invalid value.
    pub fn new(field: &'static str, bound: impl Into<Cow<'static, str>>, given: impl fmt::Display) -> Self {
        ConfigError(Box::new(Broken { field, bound: bound.into(), given: given.to_string() }))
    }

    /// Returns the name of the invalid setting, which is also the name of the method that sets it.
    pub fn field(&self) -> &'static str {
        self.0.field
    }

    /// Returns the description of the valid values, such as `at least 1`.
    pub fn bound(&self) -> &str {
        &self.0.bound
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { field, bound, given } = &*self.0;
        write!(f, "{field} must be {bound}, got {given}")
    }
}

impl std::error::Error for ConfigError {}

/// Checks that a count is at least one.
pub(crate) fn at_least_one<T: Default + PartialEq>(field: &'static str, value: T) -> Result<T, ConfigError> {
    // The default of an integer is 0.
    match value == T::default() {
        true => Err(ConfigError::new(field, "at least 1", 0)),
        false => Ok(value),
    }
}

/// Checks that a duration is longer than zero.
pub(crate) fn above_zero(field: &'static str, value: Duration) -> Result<Duration, ConfigError> {
    match value.is_zero() {
        true => Err(ConfigError::new(field, "longer than zero", "0ns")),
        false => Ok(value),
    }
}

/// Checks that a number is within `low..=high`. NaN is never within.
pub(crate) fn within(field: &'static str, value: f64, low: f64, high: f64) -> Result<f64, ConfigError> {
    match (low..=high).contains(&value) {
        true => Ok(value),
        false => Err(ConfigError::new(field, format!("between {low} and {high}"), value)),
    }
}
