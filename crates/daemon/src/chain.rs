//! An error in one line, with what it comes from.

use std::error::Error;

/// What went wrong, and what it comes from: clients of HTTP tell only that it did.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(deeper) = source {
        let more = deeper.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = deeper.source();
    }
    text
}
