//! Who is measured: a server that speaks RESP, or a cache of ours by its own protocol.

use std::{fmt, net::SocketAddr, str::FromStr};

use infinicache_client::{Address, ParseAddressError};

/// Who is measured, written `redis://[[user]:password@]host[:port][/0]` or
/// `infinicache://[[user]:password@]host[:port],...`.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// Any server that speaks RESP.
    Redis(Address),
    /// The proxies of a cache of ours.
    Infinicache(Vec<Address>),
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// It begins with neither.
    #[error("redis://HOST:PORT or infinicache://HOST:PORT is expected")]
    Scheme,
    /// What follows is no address.
    #[error(transparent)]
    Address(#[from] ParseAddressError),
}

impl Target {
    /// The protocol: `redis` or `infinicache`.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Infinicache(_) => "infinicache",
        }
    }

    /// Another server of the same protocol, which wants no login.
    pub fn at(&self, address: SocketAddr) -> Self {
        match self {
            Self::Redis(_) => Self::Redis(address.into()),
            Self::Infinicache(_) => Self::Infinicache(vec![address.into()]),
        }
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once("://") {
            Some(("infinicache", rest)) => {
                let each = rest.split(',');
                let parsed = each.map(|one| format!("infinicache://{one}").parse());
                Ok(Self::Infinicache(parsed.collect::<Result<_, _>>()?))
            }
            Some(("redis" | "rediss", _)) => Ok(Self::Redis(text.parse()?)),
            _ => Err(ParseTargetError::Scheme),
        }
    }
}

impl fmt::Display for Target {
    /// Without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(address) => write!(f, "redis://{address}"),
            Self::Infinicache(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(Address::as_str).collect();
                write!(f, "infinicache://{}", addresses.join(","))
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_tells_its_protocol_and_its_address() {
        for (text, shown, login) in [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379", None),
            ("redis://[::1]:6379/", "redis://[::1]:6379", None),
            ("redis://a", "redis://a:6379", None),
            ("redis://a:1/0", "redis://a:1", None),
            (
                "redis://:pa@ss@cache:1",
                "redis://cache:1",
                Some(("", "pa@ss")),
            ),
            (
                "redis://me:p%40ss@cache:1",
                "redis://cache:1",
                Some(("me", "p@ss")),
            ),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), shown, "{text}");
            let Target::Redis(address) = target else {
                panic!("{text}")
            };
            let found = address.login().map(|it| (&*it.user, &*it.password));
            assert_eq!(found, login, "{text}");
        }
        let target: Target = "infinicache://a:1,:pass@b:2".parse().unwrap();
        assert_eq!(target.to_string(), "infinicache://a:1,b:2");
        let Target::Infinicache(addresses) = target else {
            panic!("{target}")
        };
        assert!(addresses[0].login().is_none() && addresses[1].login().is_some());
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "127.0.0.1:6379",
            "http://a:1",
            "redis://",
            "redis://:1",
            "redis://a:1/1",
            "redis://a:70000",
            "rediss://a:1",
            "infinicache://a:1,",
            "infinicache://x@",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn passwords_are_not_told() {
        let target: Target = "redis://me:secret@cache:1".parse().unwrap();
        assert_eq!(
            format!("{target} {target:?}"),
            "redis://cache:1 redis://cache:1"
        );
    }
}
