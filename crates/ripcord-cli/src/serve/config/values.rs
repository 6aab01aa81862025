//! Values with bounds, for the command line and the file.
//!
//! The error of each type contains the expected form, so declarations of settings need no messages.

use std::{fmt, marker::PhantomData, net::IpAddr, str::FromStr, time::Duration};

use ipnet::IpNet;
use reqwest::Url;
use ripcord_http::inspector::Token;
use ripcord_policy::ConfigError;
use ripcord_sql::postgres::tokio_postgres;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

// ===== Span =====

/// A duration from `MIN` milliseconds to a day, written as `500ms` or `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span<const MIN: u64>(pub(crate) Duration);

impl<const MIN: u64> FromStr for Span<MIN> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let min = Duration::from_millis(MIN);
        match humantime::parse_duration(text) {
            Ok(span) if (min..=DAY).contains(&span) => Ok(Span(span)),
            _ => Err(format!("expected a duration from {min:?} to 24h, such as 500ms or 5s, got {text:?}")),
        }
    }
}

impl<'de, const MIN: u64> Deserialize<'de> for Span<MIN> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a duration as text, such as \"500ms\"")
    }
}

// ===== Whole =====

/// A whole number from `MIN` to `MAX`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Whole<MIN, MAX> {
    fn check(number: Option<i64>, given: impl fmt::Display) -> Result<Self, String> {
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) if (MIN..=MAX).contains(&number) => Ok(Whole(number)),
            _ => Err(format!("expected a whole number from {MIN} to {MAX}, got {given}")),
        }
    }
}

impl<const MIN: u32, const MAX: u32> FromStr for Whole<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::check(text.parse().ok(), text)
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        Self::check(Some(number), number).map_err(D::Error::custom)
    }
}

// ===== PerSecond =====

/// A rate per second, above zero and at most a million.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PerSecond(pub(crate) f64);

impl PerSecond {
    fn check(rate: Option<f64>, given: impl fmt::Display) -> Result<Self, String> {
        match rate {
            Some(rate) if rate > 0.0 && rate <= 1e6 => Ok(PerSecond(rate)),
            _ => Err(format!("expected a number above 0 and at most 1000000, got {given}")),
        }
    }
}

impl FromStr for PerSecond {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::check(text.parse().ok(), text)
    }
}

impl<'de> Deserialize<'de> for PerSecond {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rate = f64::deserialize(deserializer)?;
        Self::check(Some(rate), rate).map_err(D::Error::custom)
    }
}

// ===== Address =====

/// The address to listen on. Only the form is checked. Names are resolved when the service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) String);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
        match port.and_then(|port| port.parse::<u16>().ok()) {
            Some(_) => Ok(Address(text.to_owned())),
            None => Err(format!("expected HOST:PORT, such as 127.0.0.1:8080, got {text:?}")),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "an address as text, such as \"127.0.0.1:8080\"")
    }
}

// ===== Peers =====

/// One address or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peers(pub(crate) IpNet);

impl FromStr for Peers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(network), _) => Ok(Peers(network)),
            (_, Ok(address)) => Ok(Peers(address.into())),
            _ => Err(format!("expected an address or a network, such as 10.0.0.7 or 10.0.0.0/8, got {text:?}")),
        }
    }
}

impl<'de> Deserialize<'de> for Peers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "an address or a network as text, such as \"10.0.0.0/8\"")
    }
}

// ===== BackendUrl =====

/// The URL of a backend. Only plain HTTP is supported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackendUrl(pub(crate) Url);

impl FromStr for BackendUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Url>() {
            Ok(url) if url.scheme() == "http" && url.query().is_none() && url.fragment().is_none() => {
                Ok(BackendUrl(url))
            }
            _ => Err(format!(
                "expected an http:// URL without a query, such as http://10.0.0.7:9000/search, got {text:?}"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for BackendUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a URL as text")
    }
}

// ===== Hidden =====

/// A URL that may contain a password. `FromStr` accepts every text, because clap's error would repeat the text and expose the
/// password.
#[derive(Clone)]
pub(crate) struct Hidden(String);

impl Hidden {
    /// Parses the URL of a Postgres database. The error does not contain the URL.
    pub(crate) fn database(&self) -> Result<tokio_postgres::Config, ConfigError> {
        let is_url = ["postgres://", "postgresql://"].iter().any(|scheme| self.0.starts_with(scheme));
        let config = self.0.parse().ok().filter(|_| is_url);
        let bound = "a URL such as postgres://USER:PASSWORD@HOST/DATABASE";
        config.ok_or_else(|| ConfigError::new("database_url", bound, "another text"))
    }

    /// Returns a builder for a client of this Redis. Its `build` checks the URL.
    pub(crate) fn redis(&self) -> ripcord_redis::ClientBuilder {
        ripcord_redis::Client::builder().url(&self.0)
    }
}

impl FromStr for Hidden {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Hidden(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a URL as text")
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hidden").finish_non_exhaustive()
    }
}

// ===== Secret =====

/// The token that allows other machines to open the inspector.
#[derive(Clone, Debug)]
pub(crate) struct Secret(pub(crate) Token);

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(token) => Ok(Secret(token)),
            Err(error) => Err(format!("expected 16 to 256 visible ASCII characters: {error}")),
        }
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a token as text")
    }
}

// ===== Text =====

/// Reads a value that is text in the file.
fn from_text<'de, T, D>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    T: FromStr<Err = String>,
    D: Deserializer<'de>,
{
    struct Text<T>(&'static str, PhantomData<T>);

    impl<T: FromStr<Err = String>> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Text(expected, PhantomData))
}
