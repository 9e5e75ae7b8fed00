//! Commands of two words, such as `CLIENT ID`.

use bytes::Bytes;

use super::{
    ErrorReply,
    arguments::{excerpt, word},
    table::admits,
};

/// One of them: its second word, how many arguments it takes (as in
/// [`Spec::arity`](super::Spec::arity)), and what it is.
pub(super) type Subcommand<T> = (&'static str, i64, T);

/// Finds the subcommand that `args` call.
pub(super) fn find<T: Copy>(
    parent: &str,
    subcommands: &[Subcommand<T>],
    args: &[Bytes],
) -> Result<T, ErrorReply> {
    let name = word(&args[1]);
    let Some((name, arity, found)) = subcommands.iter().find(|(each, ..)| *each == name) else {
        let (name, parent) = (excerpt(&args[1], 128), parent.to_uppercase());
        let text = format!("ERR unknown subcommand '{name}'. Try {parent} HELP.");
        return Err(ErrorReply::quoting(text));
    };
    match admits(*arity, args.len()) {
        true => Ok(*found),
        false => Err(ErrorReply::arity(&format!(
            "{parent}|{}",
            name.to_lowercase()
        ))),
    }
}
