//! Which fields there may be, as data.
//!
//! What is not named is refused, for that is how an API server treats a field
//! that it does not know or does not allow.

use serde_json::Value;

/// What a value may be.
pub(crate) enum Shape {
    /// Any text that is not empty.
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A text that passes a test, and what it is expected to be.
    Spelt(&'static str, fn(&str) -> bool),
    /// A whole number within these bounds.
    Whole(i64, i64),
    /// `true` or `false`.
    Truth,
    /// This truth and no other.
    Only(bool),
    /// A list of at least and at most so many.
    List(usize, usize, &'static Self),
    /// Any names, each with this.
    Map(&'static Self),
    /// Fields by name.
    Fields(&'static [(&'static str, Need, Self)]),
    /// An object with just one of these fields.
    Choice(&'static [(&'static str, Self)]),
}

/// Whether a field has to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Must,
    May,
}

impl Shape {
    /// What is wrong with `value`, which is at `path`: a line for each thing.
    pub(crate) fn complaints(&self, path: &str, value: &Value) -> Vec<String> {
        let is_it = match (self, value) {
            (Self::Text, Value::String(text)) => !text.is_empty(),
            (Self::OneOf(texts), Value::String(text)) => texts.contains(&text.as_str()),
            (Self::Spelt(_, test), Value::String(text)) => test(text),
            (Self::Whole(low, high), Value::Number(number)) => number
                .as_i64()
                .is_some_and(|number| (*low..=*high).contains(&number)),
            (Self::Truth, Value::Bool(_)) => true,
            (Self::Only(truth), Value::Bool(said)) => truth == said,
            (Self::List(least, most, shape), Value::Array(items)) => {
                let mut complaints = Vec::new();
                if !(*least..=*most).contains(&items.len()) {
                    complaints.push(format!(
                        "{path}: {} items, {least} to {most} allowed",
                        items.len()
                    ));
                }
                for (index, item) in items.iter().enumerate() {
                    complaints.extend(shape.complaints(&format!("{path}[{index}]"), item));
                }
                return complaints;
            }
            (Self::Map(shape), Value::Object(entries)) => {
                let of_entry = |(key, value): (&String, &Value)| {
                    shape.complaints(&format!("{path}.{key}"), value)
                };
                return entries.iter().flat_map(of_entry).collect();
            }
            (Self::Fields(fields), Value::Object(entries)) => {
                return fields_of(fields, path, entries);
            }
            (Self::Choice(choices), Value::Object(entries)) => {
                return choice_of(choices, path, entries);
            }
            _ => false,
        };
        if is_it {
            Vec::new()
        } else {
            vec![format!("{path}: {value}, {} expected", self.expectation())]
        }
    }

    fn expectation(&self) -> String {
        match self {
            Self::Text => "a text".into(),
            Self::OneOf(texts) => texts.join(" or "),
            Self::Spelt(what, _) => (*what).to_owned(),
            Self::Whole(low, high) => format!("{low} to {high}"),
            Self::Truth => "true or false".into(),
            Self::Only(truth) => truth.to_string(),
            Self::List(..) => "a list".into(),
            Self::Map(_) | Self::Fields(_) | Self::Choice(_) => "an object".into(),
        }
    }
}

type Entries = serde_json::Map<String, Value>;

fn fields_of(fields: &[(&str, Need, Shape)], path: &str, entries: &Entries) -> Vec<String> {
    let mut complaints = Vec::new();
    for (key, value) in entries {
        match fields.iter().find(|(name, ..)| name == key) {
            Some((.., shape)) => {
                complaints.extend(shape.complaints(&format!("{path}.{key}"), value));
            }
            None => complaints.push(format!("{path}.{key}: not allowed")),
        }
    }
    for (name, need, _) in fields {
        if *need == Need::Must && !entries.contains_key(*name) {
            complaints.push(format!("{path}.{name}: missing"));
        }
    }
    complaints
}

fn choice_of(choices: &[(&str, Shape)], path: &str, entries: &Entries) -> Vec<String> {
    let mut complaints = Vec::new();
    if entries.len() != 1 {
        complaints.push(format!(
            "{path}: {} fields, just one allowed",
            entries.len()
        ));
    }
    for (key, value) in entries {
        match choices.iter().find(|(name, _)| name == key) {
            Some((_, shape)) => {
                complaints.extend(shape.complaints(&format!("{path}.{key}"), value));
            }
            None => complaints.push(format!("{path}.{key}: not allowed")),
        }
    }
    complaints
}
