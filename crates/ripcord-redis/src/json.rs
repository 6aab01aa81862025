//! Values as JSON.

use ripcord_policy::ConfigError;
use serde::Serialize;

use crate::error::Kind;

/// Writes a value. Fails if the text is longer than `max` bytes; `field` names the value in the error.
pub(crate) fn write(field: &'static str, max: usize, value: &impl Serialize) -> Result<String, Kind> {
    let text = serde_json::to_string(value).map_err(Kind::Json)?;
    match text.len() > max {
        true => Err(Kind::Config(ConfigError::new(field, format!("at most {max} bytes of JSON"), text.len()))),
        false => Ok(text),
    }
}
