//! The names of keys: a prefix of their own, and a number.

/// How keys are named.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: Vec<u8>,
}

impl Keys {
    /// Names that begin with `prefix`.
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.as_bytes().to_vec(),
        }
    }

    /// The name of a key.
    pub fn name(&self, key: u64) -> Vec<u8> {
        use std::io::Write;
        let mut name = Vec::with_capacity(self.prefix.len() + 20);
        name.extend_from_slice(&self.prefix);
        write!(name, "{key}").expect("memory to write to");
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_by_their_numbers() {
        let keys = Keys::new("bench:");
        assert_eq!(keys.name(0), b"bench:0");
        assert_eq!(keys.name(u64::MAX), b"bench:18446744073709551615");
    }
}
