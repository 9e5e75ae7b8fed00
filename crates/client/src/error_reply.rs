//! How an error that a proxy answers becomes an [`Error`]: the other way round from the proxy's.

use infinicache_engine::Error;

/// What an error answer means: its first word says.
pub(crate) fn refusal(text: &str) -> Error {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "OOM" => Error::OutOfMemory(rest.into()),
        "LOST" => {
            let mut numbers = rest
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|n| n.parse().ok());
            let (have, need) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(1));
            Error::Lost { have, need }
        }
        "TRYAGAIN" | "LOADING" => Error::Unreachable(rest.into()),
        "NOWRITE" => Error::NoWrite,
        "ERR" => Error::Refused(rest.into()),
        _ => Error::Refused(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_an_error_answer_says_what_to_do() {
        assert!(matches!(refusal("OOM no room"), Error::OutOfMemory(why) if why == "no room"));
        let lost = Error::Lost { have: 7, need: 10 };
        assert!(matches!(
            refusal(&format!("LOST {lost}")),
            Error::Lost { have: 7, need: 10 }
        ));
        assert!(matches!(refusal("LOST"), Error::Lost { have: 0, need: 1 }));
        assert!(matches!(refusal("TRYAGAIN later"), Error::Unreachable(why) if why == "later"));
        assert!(matches!(refusal("NOWRITE gone"), Error::NoWrite));
        assert!(
            matches!(refusal("ERR syntax error"), Error::Refused(why) if why == "syntax error")
        );
        assert!(matches!(refusal("WRONGTYPE x"), Error::Refused(why) if why == "WRONGTYPE x"));
    }
}
