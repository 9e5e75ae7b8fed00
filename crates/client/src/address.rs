//! ```text
//! host[:port]
//! redis://[[user][:password]@]host[:port][/[0]]
//! ```
//!
//! The second is what applications find in `REDIS_URL`; `infinicache://` is the
//! same with the proxy's port. User and password are percent-encoded there, as
//! in every URL; what stands alone before the `@` is the password, as redis-cli
//! takes it.

use std::{fmt, net::SocketAddr, str::FromStr};

use infinicache_engine::Error;

/// The proxy's port, unless it is told another.
const DEFAULT_PORT: u16 = 6378;

/// The port of a `redis://` URL that names none.
const REDIS_PORT: u16 = 6379;

/// Where a proxy is, or a Redis, and the login to give to it.
///
/// Printed, it is `host:port`: the login is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    host_port: String,
    login: Option<Login>,
}

/// A user and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Empty for the default user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// A URL of something else.
    #[error("host:port or redis://host:port is expected")]
    Scheme,
    /// A URL that asks for TLS.
    #[error("rediss:// is not supported: connections are not encrypted")]
    Tls,
    /// There is none.
    #[error("the host is missing")]
    Host,
    /// It is no port.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Redis has several databases, a cache has one.
    #[error("there is no database {0:?}, only 0")]
    Database(String),
    /// What follows a question mark.
    #[error("parameters are not supported: {0:?}")]
    Parameters(String),
    /// A login before what is no URL.
    #[error("a user or a password is taken from a redis:// URL only")]
    Login,
    /// A `%` without two hexadecimal digits, or bytes that are no text.
    #[error("the user or the password is not percent-encoded UTF-8")]
    Encoding,
}

impl Address {
    /// The address, as `host:port`.
    pub fn as_str(&self) -> &str {
        &self.host_port
    }

    /// The login, if the URL has one.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let text = text.trim();
        let (rest, is_url, port) = match text.split_once("://") {
            None => (text, false, DEFAULT_PORT),
            Some(("redis", rest)) => (rest, true, REDIS_PORT),
            Some(("infinicache", rest)) => (rest, true, DEFAULT_PORT),
            Some(("rediss", _)) => return Err(ParseAddressError::Tls),
            Some(_) => return Err(ParseAddressError::Scheme),
        };
        let (login, rest) = match rest.rsplit_once('@') {
            Some(_) if !is_url => return Err(ParseAddressError::Login),
            Some((login, rest)) => (Some(Login::decode(login)?), rest),
            None => (None, rest),
        };
        let rest = match rest.split_once('?') {
            Some((_, parameters)) if !parameters.is_empty() => {
                return Err(ParseAddressError::Parameters(parameters.into()));
            }
            Some((rest, _)) => rest,
            None => rest,
        };
        let rest = match rest.split_once('/') {
            Some((rest, "" | "0")) => rest,
            Some((_, database)) => return Err(ParseAddressError::Database(database.into())),
            None => rest,
        };
        let host_port = host_port(rest, port)?;
        let login = login.filter(|login| !login.password.is_empty());
        Ok(Self { host_port, login })
    }
}

fn host_port(text: &str, default: u16) -> Result<String, ParseAddressError> {
    // The colons within brackets belong to an IPv6 address.
    let host_end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match text[host_end..].rfind(':') {
        None => (text, default),
        Some(colon) => {
            let (host, port) = text.split_at(host_end + colon);
            let port = port[1..].parse().map_err(|_| ParseAddressError::Port)?;
            (host, port)
        }
    };
    match (host, port) {
        ("", _) => Err(ParseAddressError::Host),
        (_, 0) => Err(ParseAddressError::Port),
        (host, port) => Ok(format!("{host}:{port}")),
    }
}

impl Login {
    /// The login of the default user.
    pub(crate) fn of_default_user(password: String) -> Self {
        let user = String::new();
        Self { user, password }
    }

    fn decode(text: &str) -> Result<Self, ParseAddressError> {
        let (user, password) = text.split_once(':').unwrap_or(("", text));
        Ok(Self {
            user: percent_decode(user)?,
            password: percent_decode(password)?,
        })
    }
}

fn percent_decode(text: &str) -> Result<String, ParseAddressError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(ParseAddressError::Encoding);
        };
        decoded.push((high << 4 | low) as u8);
    }
    String::from_utf8(decoded).map_err(|_| ParseAddressError::Encoding)
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let host_port = address.to_string();
        let login = None;
        Self { host_port, login }
    }
}

impl TryFrom<&str> for Address {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        let refused = |why| {
            // A login that was meant to be one is not told.
            let shown = text.rsplit('@').next().unwrap_or_default();
            Error::Refused(format!("address {shown:?}: {why}"))
        };
        text.parse().map_err(|why: ParseAddressError| refused(why))
    }
}

impl TryFrom<String> for Address {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.as_str().try_into()
    }
}

impl TryFrom<&String> for Address {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self, Error> {
        text.as_str().try_into()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host_port)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Address {
        text.parse().unwrap_or_else(|why| panic!("{text:?}: {why}"))
    }

    #[test]
    fn addresses_read_as_host_and_port() {
        for (text, address) in [
            ("cache:7000", "cache:7000"),
            ("cache", "cache:6378"),
            ("cache:7000/", "cache:7000"),
            (" cache:7000\n", "cache:7000"),
            ("redis://cache", "cache:6379"),
            ("redis://cache/", "cache:6379"),
            ("redis://cache:7000/", "cache:7000"),
            ("redis://cache/0", "cache:6379"),
            ("redis://cache:7000/0", "cache:7000"),
            ("[::1]:7000", "[::1]:7000"),
            ("[::1]", "[::1]:6378"),
            ("redis://[fe80::1]", "[fe80::1]:6379"),
            ("infinicache://cache", "cache:6378"),
        ] {
            let parsed = parsed(text);
            assert_eq!(parsed.as_str(), address, "{text:?}");
            assert_eq!(parsed.login(), None, "{text:?}");
        }
    }

    #[test]
    fn a_url_can_have_a_user_and_a_password() {
        for (text, user, password) in [
            ("redis://:secret@cache:1", "", "secret"),
            ("redis://default:secret@cache:1/0", "default", "secret"),
            ("redis://secret@cache:1", "", "secret"),
            ("redis://:pa@ss@cache:1", "", "pa@ss"),
            ("redis://u%3Aser:p%40s%2fs%25@cache:1", "u:ser", "p@s/s%"),
            ("redis://:gr%C3%BCn@cache:1", "", "grün"),
        ] {
            let parsed = parsed(text);
            let login = parsed.login().unwrap();
            assert_eq!(parsed.as_str(), "cache:1", "{text:?}");
            assert_eq!((&*login.user, &*login.password), (user, password), "{text}");
            let shown = format!("{parsed} {parsed:?} {login:?}");
            assert!(!shown.contains(password), "{shown}");
        }
        for text in [
            "redis://@cache:1",
            "redis://:@cache:1",
            "redis://me:@cache:1",
        ] {
            assert_eq!(parsed(text).login(), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        for (text, why) in [
            ("", ParseAddressError::Host),
            (":1", ParseAddressError::Host),
            ("redis://", ParseAddressError::Host),
            ("redis://:secret@", ParseAddressError::Host),
            ("host:", ParseAddressError::Port),
            ("host:port", ParseAddressError::Port),
            ("host:0", ParseAddressError::Port),
            ("host:65536", ParseAddressError::Port),
            ("rediss://host", ParseAddressError::Tls),
            ("http://host", ParseAddressError::Scheme),
            ("redis://host/1", ParseAddressError::Database("1".into())),
            (
                "redis://host?db=1",
                ParseAddressError::Parameters("db=1".into()),
            ),
            ("u:secret@host:1", ParseAddressError::Login),
            ("redis://:%4@host", ParseAddressError::Encoding),
            ("redis://:%zz@host", ParseAddressError::Encoding),
            ("redis://:%ff@host", ParseAddressError::Encoding),
        ] {
            assert_eq!(text.parse::<Address>(), Err(why), "{text:?}");
            let Err(Error::Refused(told)) = Address::try_from(text) else {
                panic!("{text:?}")
            };
            assert!(!told.contains("secret"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(redis://)?[\\PC%@:/]{0,40}") {
            let _ = text.parse::<Address>();
        }
    }
}
