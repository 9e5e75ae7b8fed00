//! ```text
//! IC.NODES
//! IC.OPEN key size|? [member,...|-] [DIRECT] [BLIND]
//! IC.RESERVE write bytes
//! IC.REPLACE write index [DIRECT]
//! IC.COMMIT write size [option ...]        options as of SET
//! IC.ABORT write
//! IC.LOCATE key [DIRECT]
//! IC.RELEASE lease
//! IC.LINK
//! ```
//!
//! The commands of smart clients, which code and place by themselves. What they
//! mean is told in [`infinicache_wire::control`] and done in [`crate::control`].

use bytes::Bytes;
use infinicache_client::Terms;

use super::{Answer, Refused, Spec, Store, arguments::key, set, table::Verb};

/// Which of the commands of smart clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Nodes,
    Open,
    Reserve,
    Replace,
    Commit,
    Abort,
    Locate,
    Release,
}

const fn spec(
    name: &'static str,
    arity: i64,
    keys: (i64, i64, i64),
    verb: Verb,
    summary: &'static str,
) -> Spec {
    Spec {
        name,
        arity,
        flags: &["noscript"],
        keys,
        categories: &["slow"],
        group: "infinicache",
        summary,
        verb,
    }
}

const NO_KEY: (i64, i64, i64) = (0, 0, 0);
const ONE_KEY: (i64, i64, i64) = (1, 1, 1);

pub(super) const NODES: Spec = spec(
    "ic.nodes",
    1,
    NO_KEY,
    Verb::Smart(Control::Nodes),
    "Describe the pool",
);
pub(super) const OPEN: Spec = spec(
    "ic.open",
    -3,
    ONE_KEY,
    Verb::Smart(Control::Open),
    "Begin a write",
);
pub(super) const RESERVE: Spec = spec(
    "ic.reserve",
    3,
    NO_KEY,
    Verb::Smart(Control::Reserve),
    "Make room for a write",
);
pub(super) const REPLACE: Spec = spec(
    "ic.replace",
    -3,
    NO_KEY,
    Verb::Smart(Control::Replace),
    "Move a chunk of a write",
);
pub(super) const COMMIT: Spec = spec(
    "ic.commit",
    -3,
    NO_KEY,
    Verb::Smart(Control::Commit),
    "Make a write a key's value",
);
pub(super) const ABORT: Spec = spec(
    "ic.abort",
    2,
    NO_KEY,
    Verb::Smart(Control::Abort),
    "Give a write up",
);
pub(super) const LOCATE: Spec = spec(
    "ic.locate",
    -2,
    ONE_KEY,
    Verb::Smart(Control::Locate),
    "Tell where a value is",
);
pub(super) const RELEASE: Spec = spec(
    "ic.release",
    2,
    NO_KEY,
    Verb::Smart(Control::Release),
    "End a read",
);
pub(super) const LINK: Spec = spec("ic.link", 1, NO_KEY, Verb::Link, "Go over to frames");

pub(super) async fn run<S: Store>(
    store: &S,
    owned: &mut S::Owned,
    control: Control,
    args: &[Bytes],
) -> Answer {
    let terms = match control {
        Control::Commit => terms(&args[3..], store.now())?,
        Control::Open | Control::Locate => {
            key(&args[1])?;
            Terms::default()
        }
        _ => Terms::default(),
    };
    store.control(owned, control, args, terms).await
}

/// The value before is never asked for here.
fn terms(options: &[Bytes], now: u64) -> Result<Terms, Refused> {
    let terms = set::parse(options, now)?;
    match terms.previous {
        true => Err(Refused::SYNTAX),
        false => Ok(terms),
    }
}
