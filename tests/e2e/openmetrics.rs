//! Metrics in the OpenMetrics text format, read strictly.
//!
//! ```text
//! # HELP name what it is.
//! # TYPE name counter
//! name_total{reason="lost"} 3
//! # EOF
//! ```
//!
//! Lenient readers exist, and they are not the only ones. So all tests read
//! metrics through this, and fail if any of it is not by the book.

use std::collections::{BTreeMap, BTreeSet};

/// The samples of a page.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Family by name.
    families: BTreeMap<String, Family>,
    samples: Vec<Sample>,
}

#[derive(Debug, Default)]
struct Family {
    kind: Option<String>,
    help: bool,
    unit: bool,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

type Checked<T = ()> = Result<T, String>;

impl Metrics {
    /// Reads a page.
    ///
    /// # Errors
    ///
    /// The first line that is wrong, and why.
    pub(crate) fn parse(text: &str) -> Checked<Self> {
        let body = text.strip_suffix("# EOF\n").ok_or("no end mark")?;
        let mut metrics = Self::default();
        let mut current = String::new();
        let mut seen = BTreeSet::new();
        for line in body.split_terminator('\n') {
            let read = match line.strip_prefix("# ") {
                Some(comment) => metrics.describe(comment, &mut current),
                None => metrics.sample(line, &current, &mut seen),
            };
            read.map_err(|wrong| format!("{wrong}: {line}"))?;
        }
        for (name, family) in &metrics.families {
            if family.kind.is_none() || !family.help {
                return Err(format!("{name} has no type or no help"));
            }
            metrics.check_buckets(name, family)?;
        }
        Ok(metrics)
    }

    /// The names of all metrics, as people write them: counters with their ending.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let name = |(name, family): (&String, &Family)| match family.kind.as_deref() {
            Some("counter") => format!("{name}_total"),
            _ => name.clone(),
        };
        self.families.iter().map(name).collect()
    }

    /// The sum of all samples of a name.
    pub(crate) fn total(&self, name: &str) -> f64 {
        self.matching(name, &[])
    }

    /// The sum of all samples of a name that have a label of this value.
    pub(crate) fn of(&self, name: &str, label: &str, value: &str) -> f64 {
        self.matching(name, &[(label, value)])
    }

    /// The values of a label of all samples of a name.
    pub(crate) fn labels(&self, name: &str, label: &str) -> Vec<&str> {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        samples
            .map(|sample| sample.labels[label].as_str())
            .collect()
    }

    fn matching(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).is_some_and(|is| is == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        self.samples
            .iter()
            .filter(matches)
            .map(|sample| sample.value)
            .sum()
    }

    /// A line about a family. All that belongs to a family stands together.
    fn describe(&mut self, comment: &str, current: &mut String) -> Checked {
        let mut words = comment.splitn(3, ' ');
        let (Some(word), Some(name), Some(text)) = (words.next(), words.next(), words.next())
        else {
            return Err("not HELP, TYPE or UNIT of anything".into());
        };
        if !is_name(name, true) {
            return Err("illegal name".into());
        }
        if name != current {
            if self.families.contains_key(name) {
                return Err("a family in two places".into());
            }
            name.clone_into(current);
        } else if self
            .samples
            .last()
            .is_some_and(|last| self.family_of(&last.name) == Some(name))
        {
            return Err("described after its samples".into());
        }
        let family = self.families.entry(name.to_owned()).or_default();
        let again = match word {
            "HELP" => std::mem::replace(&mut family.help, true),
            "UNIT" if !name.ends_with(&format!("_{text}")) => {
                return Err("a name that does not end with its unit".into());
            }
            "UNIT" => std::mem::replace(&mut family.unit, true),
            "TYPE" if !["counter", "gauge", "histogram"].contains(&text) => {
                return Err("unknown type".into());
            }
            "TYPE" => family.kind.replace(text.to_owned()).is_some(),
            _ => return Err("not HELP, TYPE or UNIT".into()),
        };
        if again {
            return Err("said twice".into());
        }
        Ok(())
    }

    fn sample(&mut self, line: &str, current: &str, seen: &mut BTreeSet<String>) -> Checked {
        let name_end = line.find(['{', ' ']).ok_or("no value")?;
        let (name, rest) = line.split_at(name_end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(labels) => parse_labels(labels)?,
            None => (BTreeMap::new(), rest),
        };
        let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
        let value: f64 = match value {
            "+Inf" => f64::INFINITY,
            number => number.parse().map_err(|_| "no number")?,
        };
        if !is_name(name, true) {
            return Err("illegal name".into());
        }
        if self.family_of(name) != Some(current) {
            return Err(format!("not of {current}, which was described last"));
        }
        if !seen.insert(format!("{name}{labels:?}")) {
            return Err("a sample twice".into());
        }
        if name.ends_with("_total") && (value.is_nan() || value < 0.0) {
            return Err("a negative count".into());
        }
        let name = name.to_owned();
        self.samples.push(Sample {
            name,
            labels,
            value,
        });
        Ok(())
    }

    /// The family that a sample belongs to, by its name and the type of the family.
    fn family_of(&self, sample: &str) -> Option<&str> {
        let candidates = self.families.iter().filter_map(|(name, family)| {
            let suffix = sample.strip_prefix(name.as_str())?;
            let suffixes: &[&str] = match family.kind.as_deref()? {
                "counter" => &["_total", "_created"],
                "gauge" => &[""],
                _ => &["_bucket", "_sum", "_count", "_created"],
            };
            suffixes.contains(&suffix).then_some(name.as_str())
        });
        candidates.max_by_key(|name| name.len())
    }

    /// Buckets never fall, and the last one is the count.
    fn check_buckets(&self, name: &str, family: &Family) -> Checked {
        if family.kind.as_deref() != Some("histogram") {
            return Ok(());
        }
        let mut last: BTreeMap<_, (f64, f64)> = BTreeMap::new();
        let bucket = format!("{name}_bucket");
        for sample in self.samples.iter().filter(|sample| sample.name == bucket) {
            let mut labels = sample.labels.clone();
            let bound = labels
                .remove("le")
                .ok_or_else(|| format!("{bucket} without le"))?;
            let bound = if bound == "+Inf" {
                Ok(f64::INFINITY)
            } else {
                bound.parse()
            };
            let bound: f64 = bound.map_err(|_| format!("{bucket}: no bound"))?;
            let before = last.insert(labels, (bound, sample.value));
            if before.is_some_and(|(least, count)| bound <= least || sample.value < count) {
                return Err(format!("buckets of {name} fall"));
            }
        }
        for sample in self
            .samples
            .iter()
            .filter(|sample| sample.name == format!("{name}_count"))
        {
            if last.get(&sample.labels) != Some(&(f64::INFINITY, sample.value)) {
                return Err(format!("the last bucket of {name} is not its count"));
            }
        }
        Ok(())
    }
}

/// Labels up to the brace that ends them, and what follows it.
fn parse_labels(mut text: &str) -> Checked<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        if !labels.is_empty() {
            text = text.strip_prefix(',').ok_or("no comma between labels")?;
        }
        let (name, rest) = text.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(name, false) {
            return Err(format!("illegal label {name:?}"));
        }
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next().ok_or("a label without an end")? {
                (at, '"') => break at,
                (_, '\\') => match characters.next().ok_or("nothing is escaped")?.1 {
                    'n' => value.push('\n'),
                    escaped @ ('"' | '\\') => value.push(escaped),
                    _ => return Err("an unknown escape".into()),
                },
                (_, other) => value.push(other),
            }
        };
        text = &rest[end + 1..];
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("label {name} twice"));
        }
    }
}

fn is_name(name: &str, colons: bool) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    name.starts_with(|c: char| !c.is_ascii_digit()) && name.chars().all(legal)
}

#[test]
fn what_is_by_the_book_is_read() {
    let text =
        "# HELP a Things.\n# TYPE a counter\na_total{b=\"c\\\"d\"} 1\na_total{b=\"e\"} 2\n# EOF\n";
    let metrics = Metrics::parse(text).unwrap();
    assert_eq!(metrics.total("a_total"), 3.0);
    assert_eq!(metrics.of("a_total", "b", "c\"d"), 1.0);
    assert_eq!(metrics.labels("a_total", "b"), ["c\"d", "e"]);
}

#[test]
fn what_is_not_by_the_book_is_refused() {
    let gauge = "# HELP a Things.\n# TYPE a gauge\n";
    for (body, why) in [
        ("a 1\n", "not of"),
        ("# TYPE a gauge\na 1\n", "no help"),
        (&format!("{gauge}a 1\na 2\n"), "twice"),
        (&format!("{gauge}a 1\n# UNIT a b\n"), "after its samples"),
        (&format!("{gauge}{gauge}a 1\n"), "twice"),
        (&format!("{gauge}a_total 1\n"), "not of"),
        (&format!("{gauge}a one\n"), "no number"),
        (&format!("{gauge}a{{b=\"c\" 1\n"), "no comma"),
        (&format!("{gauge}a{{0=\"c\"}} 1\n"), "illegal label"),
        (&format!("{gauge}\na 1\n"), "no value"),
        (&format!("{gauge}a 1\n# EOF\n"), "not HELP"),
        ("# HELP 0a Things.\n", "illegal name"),
        (
            "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_count 1\n",
            "last bucket",
        ),
    ] {
        let refused = Metrics::parse(&format!("{body}# EOF\n")).unwrap_err();
        assert!(refused.contains(why), "{refused}, not {why}: {body}");
    }
    assert!(Metrics::parse("# EOF").is_err());
}
