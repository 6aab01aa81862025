//! The flags of `ripcord run`.

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

use clap::{
    Arg, Command,
    builder::{TypedValueParser, ValueParserFactory},
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::duration::{parse_duration, parse_time};

/// The flags of `ripcord run`.
#[derive(Debug, clap::Args)]
#[command(override_help = include_str!("help.txt"), disable_help_flag = false)]
pub struct Args {
    /// Time limit of all attempts together
    #[arg(long, allow_hyphen_values = true, value_name = "D")]
    pub(super) timeout: Option<Span>,

    /// Point in time at which the command is ended
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub(super) deadline: Option<Moment>,

    /// Time between SIGTERM and SIGKILL
    #[arg(long, allow_hyphen_values = true, value_name = "D", default_value = "10s")]
    pub(super) grace: Span,

    /// Maximum number of further attempts if the command fails
    #[arg(long, allow_hyphen_values = true, value_name = "N", default_value = "0")]
    pub(super) retries: Retries,

    /// Name of the run in messages and in RIPCORD_DEADLINE_NAME
    #[arg(long, allow_hyphen_values = true, value_name = "S")]
    pub(super) name: Option<OsString>,

    /// The command and its arguments
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    pub(super) command: Vec<OsString>,
}

/// A duration and the user's text.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) duration: Duration,
    pub(super) text: String,
}

/// A point in time and the user's text.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// The time since the epoch. `None` before the epoch.
    pub(super) time: Option<Duration>,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Retries(pub(super) u32);

/// A value on the command line. The error of `parse` describes the expected text.
pub(super) trait Value: Clone + Send + Sync + 'static {
    fn parse(text: &str) -> Result<Self, &'static str>;
}

impl Value for Span {
    fn parse(text: &str) -> Result<Self, &'static str> {
        Ok(Span { duration: parse_duration(text)?, text: text.to_owned() })
    }
}

impl Value for Moment {
    fn parse(text: &str) -> Result<Self, &'static str> {
        Ok(Moment { time: parse_time(text)?, text: text.to_owned() })
    }
}

impl Value for Retries {
    fn parse(text: &str) -> Result<Self, &'static str> {
        // Without this check, `parse` would accept a sign.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).map(Retries).ok_or("expected a number of attempts, such as 3")
    }
}

/// Parses a [`Value`]. Unlike clap's own parsers, the error of a value that is not UTF-8 names the flag.
#[derive(Clone)]
pub(super) struct Parser<V>(std::marker::PhantomData<V>);

impl<V: Value> TypedValueParser for Parser<V> {
    type Value = V;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<V, clap::Error> {
        let parsed = value.to_str().ok_or("it is not UTF-8").and_then(V::parse);
        parsed.map_err(|rule| {
            let flag = arg.map(ToString::to_string).unwrap_or_default();
            let text = format!(
                "invalid value '{}' for '{flag}': {rule}",
                super::printable::printable(&value.to_string_lossy())
            );
            let mut error = clap::Error::raw(ErrorKind::ValueValidation, text).with_cmd(command);
            error.insert(ContextKind::InvalidArg, ContextValue::String(flag));
            error
        })
    }
}

macro_rules! parsed {
    ($($value:ty),*) => {$(
        impl ValueParserFactory for $value {
            type Parser = Parser<$value>;

            fn value_parser() -> Parser<$value> {
                Parser(std::marker::PhantomData)
            }
        }
    )*};
}
parsed!(Span, Moment, Retries);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_period_is_ten_seconds_by_default() {
        let command = <Args as clap::Args>::augment_args(Command::new("run"));
        let matches = command.try_get_matches_from(["run", "true"]).unwrap();
        let args = <Args as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
        assert_eq!(args.grace.duration, Duration::from_secs(10));
        assert_eq!(args.grace.duration, ripcord_process::Command::GRACE);
    }
}
