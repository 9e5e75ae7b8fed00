//! ```text
//! CONFIG GET pattern [pattern ...]
//! ```
//!
//! The parameters of Redis that clients ask for, by name or with `*` and `?`;
//! others there are none. They cannot be set.

use std::time::Duration;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::{Answer, ServerContext, Spec, subcommand, table::Verb};

pub(super) const SPEC: Spec = Spec {
    name: "config",
    arity: -2,
    flags: &[],
    keys: (0, 0, 0),
    categories: &["slow"],
    group: "server",
    summary: "Get configuration parameters",
    needs_values: false,
    verb: Verb::Config,
};

pub(super) fn run<S>(state: &ServerContext<S>, args: &[Bytes]) -> Answer {
    subcommand::find(SPEC.name, &[("GET", -3, ())], args)?;
    let patterns = &args[2..];
    let wanted = parameters(state)
        .into_iter()
        .filter(|(name, _)| {
            patterns
                .iter()
                .any(|pattern| matches(pattern, name.as_bytes()))
        })
        .flat_map(|(name, value)| [name.into(), value.into()])
        .map(BytesFrame::BulkString)
        .collect();
    Ok(BytesFrame::Array(wanted))
}

fn parameters<S>(state: &ServerContext<S>) -> Vec<(&'static str, String)> {
    let figures = state.observer.figures();
    let limits = figures.limits;
    // Of a part of a second, which Redis does not know, a client had better hear as of a whole one.
    let seconds = |time: Duration| time.as_millis().div_ceil(1000).to_string();
    vec![
        ("appendonly", "no".to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", limits.max_clients.to_string()),
        ("maxmemory", figures.capacity_bytes.to_string()),
        ("maxmemory-policy", "allkeys-lru".to_owned()),
        ("proto-max-bulk-len", limits.max_object_bytes.to_string()),
        ("save", String::new()),
        ("tcp-keepalive", seconds(limits.keepalive)),
        ("timeout", seconds(limits.idle_timeout)),
    ]
}

/// Whether `name` fits `pattern`, in which `*` stands for any bytes and `?` for any one.
///
/// Only the last `*` is ever gone back to, so a hostile pattern costs no more
/// than its length times that of the name.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut next) = (0, 0);
    let mut star = None;
    while next < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, next));
                at += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&name[next]) => {
                at += 1;
                next += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                (at, next) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("save", "save", true),
            ("SAVE", "save", true),
            ("save", "saved", false),
            ("*", "save", true),
            ("max*", "maxmemory", true),
            ("max*y", "maxmemory-policy", true),
            ("max*x", "maxmemory", false),
            ("*a*e", "save", true),
            ("sa?e", "save", true),
            ("", "save", false),
            ("**", "save", true),
        ] {
            let matched = matches(pattern.as_bytes(), name.as_bytes());
            assert_eq!(matched, expected, "{pattern} {name}");
        }
    }
}
