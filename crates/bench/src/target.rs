//! Who is measured: a server that speaks RESP, or a cache of ours by its own protocol.

use std::{fmt, net::SocketAddr, str::FromStr};

/// Who is measured, written `redis://[user:]password@host:port` or `infinicache://host:port,...`.
#[derive(Clone, PartialEq, Eq)]
pub enum Target {
    /// Any server that speaks RESP.
    Redis {
        /// `host:port`.
        address: String,
        /// User, which may be empty, and password.
        login: Option<(String, String)>,
    },
    /// The proxies of a cache of ours, each `host:port`.
    Infinicache(Vec<String>),
}

/// Why a text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseTargetError {
    /// It begins with neither.
    #[error("redis://HOST:PORT or infinicache://HOST:PORT is expected")]
    Scheme,
    /// Its address has no host or no port.
    #[error("HOST:PORT is expected after ://")]
    Address,
}

impl Target {
    /// The protocol: `redis` or `infinicache`.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Redis { .. } => "redis",
            Self::Infinicache(_) => "infinicache",
        }
    }

    /// Somebody else who speaks the same protocol, and wants no login.
    pub fn at(&self, address: SocketAddr) -> Self {
        let address = address.to_string();
        match self {
            Self::Redis { .. } => Self::Redis {
                address,
                login: None,
            },
            Self::Infinicache(_) => Self::Infinicache(vec![address]),
        }
    }
}

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(ParseTargetError::Scheme)?;
        let rest = rest.trim_end_matches('/');
        match scheme {
            "redis" => {
                let (login, address) = match rest.rsplit_once('@') {
                    Some((login, address)) => (Some(self::login(login)), address),
                    None => (None, rest),
                };
                let address = self::address(address)?;
                Ok(Self::Redis { address, login })
            }
            "infinicache" => rest
                .split(',')
                .map(address)
                .collect::<Result<_, _>>()
                .map(Self::Infinicache),
            _ => Err(ParseTargetError::Scheme),
        }
    }
}

fn login(text: &str) -> (String, String) {
    match text.split_once(':') {
        Some((user, password)) => (user.into(), password.into()),
        None => (String::new(), text.into()),
    }
}

fn address(text: &str) -> Result<String, ParseTargetError> {
    match text.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() =>
        {
            Ok(text.into())
        }
        _ => Err(ParseTargetError::Address),
    }
}

impl fmt::Display for Target {
    /// Without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis { address, .. } => write!(f, "redis://{address}"),
            Self::Infinicache(addresses) => write!(f, "infinicache://{}", addresses.join(",")),
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
        let redis = |address: &str, login: Option<(&str, &str)>| Target::Redis {
            address: address.into(),
            login: login.map(|(user, password)| (user.into(), password.into())),
        };
        for (text, expected) in [
            ("redis://127.0.0.1:6379", redis("127.0.0.1:6379", None)),
            ("redis://[::1]:6379/", redis("[::1]:6379", None)),
            (
                "redis://:pa@ss@cache:1",
                redis("cache:1", Some(("", "pa@ss"))),
            ),
            (
                "redis://me:pass@cache:1",
                redis("cache:1", Some(("me", "pass"))),
            ),
            (
                "infinicache://a:1,b:2",
                Target::Infinicache(vec!["a:1".into(), "b:2".into()]),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in [
            "",
            "127.0.0.1:6379",
            "http://a:1",
            "redis://",
            "redis://a",
            "redis://:1",
            "redis://a:1/0",
            "redis://a:70000",
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
