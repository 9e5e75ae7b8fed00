//! Findings that say the same of several subjects, said once.
//!
//! ```text
//! bad  node n-0: is not ready      bad  node n-[0-2]: is not ready
//! bad  node n-1: is not ready  ->
//! bad  node n-2: is not ready
//! ```

use std::collections::BTreeSet;

use super::finding::Finding;

/// Merges findings that differ in their subjects only, in the order of the first of each.
///
/// What a finding says of a node may contain the node's name, which then is `*`.
pub fn sum_up(findings: Vec<Finding>) -> Vec<Finding> {
    let mut groups: Vec<(Finding, Vec<Finding>)> = Vec::new();
    for finding in findings {
        let nameless = nameless(&finding);
        match groups.iter_mut().find(|(group, _)| *group == nameless) {
            Some((_, members)) => members.push(finding),
            None => groups.push((nameless, vec![finding])),
        }
    }
    groups.into_iter().map(merged).collect()
}

/// What a finding says of its subject.
fn nameless(finding: &Finding) -> Finding {
    let found = match divided(&finding.subject) {
        ("node" | "wake of", name) => finding.found.replace(name, "*"),
        _ => finding.found.clone(),
    };
    Finding {
        subject: String::new(),
        found,
        ..finding.clone()
    }
}

fn merged((nameless, mut members): (Finding, Vec<Finding>)) -> Finding {
    if members.len() == 1 {
        return members.remove(0);
    }
    let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
    for (kind, name) in members.iter().map(|it| divided(&it.subject)) {
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, names)) => names.push(name),
            None => kinds.push((kind, vec![name])),
        }
    }
    let subjects = kinds.iter().map(|(kind, names)| {
        let names = host_list(names);
        format!("{kind} {names}").trim_start().to_owned()
    });
    Finding {
        subject: subjects.collect::<Vec<_>>().join(", "),
        ..nameless
    }
}

/// What a subject is, and its name, which is its last word.
fn divided(subject: &str) -> (&str, &str) {
    subject.rsplit_once(' ').unwrap_or(("", subject))
}

/// `n-0`, `n-1`, `n-2`, `n-7` and `m`, as a host list: `n-[0-2,7], m`.
fn host_list(names: &[&str]) -> String {
    let mut stems: Vec<(&str, BTreeSet<u32>)> = Vec::new();
    for name in names {
        let (stem, number) = numbered(name);
        let place = stems
            .iter()
            .position(|(known, numbers)| *known == stem && numbers.is_empty() == number.is_none());
        let place = place.unwrap_or_else(|| {
            stems.push((stem, BTreeSet::new()));
            stems.len() - 1
        });
        stems[place].1.extend(number);
    }
    let texts = stems.iter().map(|(stem, numbers)| match numbers.len() {
        0 => (*stem).to_owned(),
        1 => format!("{stem}{}", ranges(numbers)),
        _ => format!("{stem}[{}]", ranges(numbers)),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// A name without the number that it ends with, and the number.
fn numbered(name: &str) -> (&str, Option<u32>) {
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let digits = &name[stem.len()..];
    match digits.parse::<u32>() {
        // Not with zeros before it: the number would not say how many.
        Ok(number) if number.to_string() == digits => (stem, Some(number)),
        _ => (name, None),
    }
}

/// `0-2,7`.
fn ranges(numbers: &BTreeSet<u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let text = |(first, last): &(u32, u32)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: impl IntoIterator<Item = Finding>) -> Vec<String> {
        let summed = sum_up(findings.into_iter().collect());
        let line = |it: Finding| format!("{} {}: {}", it.level.as_str(), it.subject, it.found);
        summed.into_iter().map(line).collect()
    }

    #[test]
    fn what_is_so_of_fourteen_nodes_is_said_once() {
        let nodes = (0..14).map(|index| {
            let name = format!("infinicache-node-{index}");
            let found = format!("is not ready: Revision \"{name}-00002\" failed");
            Finding::bad(&format!("node {name}"), found, "look")
        });
        let expected =
            "bad node infinicache-node-[0-13]: is not ready: Revision \"*-00002\" failed";
        assert_eq!(lines(nodes), [expected]);
    }

    #[test]
    fn findings_that_differ_stay_apart_and_in_order() {
        let findings = [
            Finding::good("node a-1", "is ready"),
            Finding::bad("node a-2", "is not", "look"),
            Finding::good("node a-3", "is ready"),
            Finding::bad("node a-4", "is not", "look elsewhere"),
            Finding::doubtful("node a-5", "is not", "look"),
        ];
        let expected = [
            "good node a-[1,3]: is ready",
            "bad node a-2: is not",
            "bad node a-4: is not",
            "doubtful node a-5: is not",
        ];
        assert_eq!(lines(findings), expected);
    }

    #[test]
    fn a_finding_that_is_alone_says_its_name() {
        let finding = Finding::bad("node a-1", "waits for a-1-00001", "look");
        assert_eq!(lines([finding]), ["bad node a-1: waits for a-1-00001"]);
    }

    #[test]
    fn subjects_of_different_kinds_are_named_side_by_side() {
        let subjects = [
            "knative serving",
            "config-defaults",
            "config-features",
            "secret x",
        ];
        let hidden = subjects.map(|it| Finding::unknown(it, "not visible from here", "ask"));
        let expected = "unknown knative serving, config-defaults, config-features, secret x: \
                        not visible from here";
        assert_eq!(lines(hidden), [expected]);
    }

    #[test]
    fn names_are_a_host_list() {
        for (names, expected) in [
            (&["n-0", "n-1", "n-2", "n-7"][..], "n-[0-2,7]"),
            (&["n-10", "n-9", "n-2"], "n-[2,9-10]"),
            (&["n-3"], "n-3"),
            (&["n-01", "n-02"], "n-01, n-02"),
            (&["a", "b-1", "b-2", "c"], "a, b-[1-2], c"),
            (&["a", "a3", "a4"], "a, a[3-4]"),
            (
                &["x-99999999999", "x-4294967295"],
                "x-99999999999, x-4294967295",
            ),
        ] {
            assert_eq!(host_list(names), expected);
        }
    }
}
