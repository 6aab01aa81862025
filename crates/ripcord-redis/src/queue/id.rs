//! The ID of a job.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The ID of a job of a [`Queue`](crate::Queue): a random number of 128 bits. `Display` prints 32 lowercase hex
/// digits, and [`str::parse`] reads them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u128);

impl JobId {
    /// Returns an ID that no other call returns: a hash of a count, with random keys per process.
    pub(super) fn random() -> Self {
        static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(|| (RandomState::new(), RandomState::new()));
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // Relaxed: no other memory depends on this number.
        let count = NEXT.fetch_add(1, Ordering::Relaxed);
        JobId(u128::from(KEYS.0.hash_one(count)) << 64 | u128::from(KEYS.1.hash_one(count)))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

/// The error of [`str::parse`] for a text that is not a [`JobId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidJobId(());

impl fmt::Display for InvalidJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ID of a job has 32 lowercase hex digits")
    }
}

impl std::error::Error for InvalidJobId {}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(InvalidJobId(()));
        }
        u128::from_str_radix(text, 16).map(JobId).map_err(|_| InvalidJobId(()))
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_id_is_read_again_and_other_texts_are_refused() {
        let id = JobId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "1", &"g".repeat(32), &"A".repeat(32), &format!("+{}", "1".repeat(31))] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }
}
