//! The names of a cache's keys in Redis.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The end of the name of a lease. The name of a value ends with a brace, so the two never meet.
const LEASE: &str = ":lease";

/// The names of the keys of one cache. A key `7` of the cache `users` has the value `ripcord:cache:users:{7}` and the lease
/// `ripcord:cache:users:{7}:lease`. The braces keep both on one node of a cluster.
#[derive(Debug)]
pub(super) struct Names {
    /// The names start with this text.
    start: String,
}

/// A changed key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Changed<'a> {
    /// The value, by its name in Redis.
    Value(&'a str),
    /// The lease of the value with this name.
    Lease(&'a str),
}

impl Names {
    /// `start` is the prefix of all caches, with the name of the cache.
    pub(super) fn new(start: &str) -> Names {
        Names { start: format!("{start}:") }
    }

    pub(super) fn value(&self, key: &impl Serialize) -> Result<String, serde_json::Error> {
        Ok(format!("{}{{{}}}", self.start, serde_json::to_string(key)?))
    }

    pub(super) fn lease(value: &str) -> String {
        format!("{value}{LEASE}")
    }

    /// Returns which key of this cache has the name `name`.
    pub(super) fn changed<'a>(&self, name: &'a str) -> Option<Changed<'a>> {
        name.strip_prefix(&self.start).filter(|rest| rest.starts_with('{'))?;
        match name.strip_suffix(LEASE) {
            Some(value) => Some(Changed::Lease(value)),
            None => Some(Changed::Value(name)),
        }
    }

    /// Reads the key from the name of its value.
    pub(super) fn key<K: DeserializeOwned>(&self, value: &str) -> Option<K> {
        let json = value.strip_prefix(&self.start)?.strip_prefix('{')?.strip_suffix('}')?;
        serde_json::from_str(json).ok()
    }

    /// Returns the patterns of the names of all leases, and of all values.
    pub(super) fn patterns(&self) -> [String; 2] {
        let mut start = String::new();
        for character in self.start.chars() {
            if matches!(character, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
                start.push('\\');
            }
            start.push(character);
        }
        [format!("{start}{{*}}{LEASE}"), format!("{start}{{*}}")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_values_and_leases_are_read_back() {
        let names = Names::new("ripcord:cache:users");
        for key in ["7", "", "}", "{", ":lease", "}:lease", "a\"b"] {
            let value = names.value(&key).unwrap();
            assert_eq!(names.changed(&value), Some(Changed::Value(&value)));
            assert_eq!(names.key::<String>(&value).unwrap(), key);
            let lease = Names::lease(&value);
            assert_eq!(names.changed(&lease), Some(Changed::Lease(&value)));
        }
        assert_eq!(Names::new("r:cache:a").changed("r:cache:ab:{1}"), None);
        assert_eq!(Names::new("r:cache:a").changed("r:cache:a:b:{1}"), None);
    }

    #[test]
    fn patterns_match_names_literally() {
        let names = Names::new("r:cache:a*b");
        assert_eq!(names.patterns(), ["r:cache:a\\*b:{*}:lease", "r:cache:a\\*b:{*}"]);
    }
}
