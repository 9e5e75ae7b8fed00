//! ```text
//! [redis://]host[:port][/]
//! ```

use crate::Error;

/// The proxy's port, unless it is told another.
const DEFAULT_PORT: u16 = 6378;

/// Reads an address off what the user wrote, as `host:port`.
///
/// # Errors
///
/// [`Error::Refused`] if it is none, or asks for what is not supported.
pub(super) fn parse(text: &str) -> Result<String, Error> {
    let refused = |why: &str| Err(Error::Refused(format!("address {text:?}: {why}")));
    let rest = match text.split_once("://") {
        None => text,
        Some(("redis", rest)) => rest,
        Some(_) => return refused("only redis:// is supported"),
    };
    let rest = match rest.split_once('/') {
        None | Some((_, "" | "0")) => rest.split('/').next().unwrap_or_default(),
        Some(_) => return refused("only database 0 is supported"),
    };
    if rest.contains('@') {
        return refused("credentials are not supported");
    }
    // The colons within brackets belong to an IPv6 address.
    let host_end = rest.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match rest[host_end..].rfind(':') {
        None => (rest, Ok(DEFAULT_PORT)),
        Some(colon) => (
            &rest[..host_end + colon],
            rest[host_end + colon + 1..].parse(),
        ),
    };
    match port {
        _ if host.is_empty() => refused("the host is missing"),
        Ok(port) => Ok(format!("{host}:{port}")),
        Err(_) => refused("the port is not a number below 65536"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_host_and_port() {
        for (text, address) in [
            ("cache:7000", "cache:7000"),
            ("cache", "cache:6378"),
            ("redis://cache", "cache:6378"),
            ("redis://cache:7000/", "cache:7000"),
            ("redis://cache/0", "cache:6378"),
            ("[::1]:7000", "[::1]:7000"),
            ("redis://[fe80::1]", "[fe80::1]:6378"),
        ] {
            assert_eq!(parse(text).unwrap(), address, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":1",
            "host:",
            "host:port",
            "host:65536",
            "rediss://host",
            "redis://u:p@host",
            "redis://host/1",
        ] {
            assert!(matches!(parse(text), Err(Error::Refused(_))), "{text:?}");
        }
    }
}
