//! Choices with weights, as people write them: `get=80,set=20`.

use std::str::FromStr;

/// Most choices.
const MOST: usize = 16;

/// Some choices of which each has a weight; their sum is not 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights<T>(Vec<(T, u32)>);

/// Why a text is no choice with weights.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseWeightsError {
    /// What is to be chosen cannot be read.
    #[error("{0:?}: {1}")]
    Choice(String, String),
    /// A weight is no whole number.
    #[error("{0:?} is no weight: a whole number below 1,000,000 is expected")]
    Weight(String),
    /// Nothing would ever be chosen, or there is too much to choose from.
    #[error("1 to {MOST} choices are expected, of which one has a weight")]
    Number,
}

impl<T: FromStr<Err: ToString>> FromStr for Weights<T> {
    type Err = ParseWeightsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let choice = |part: &str| {
            let (choice, weight) = part.split_once('=').unwrap_or((part, "1"));
            let choice: T = choice.trim().parse().map_err(|error: T::Err| {
                ParseWeightsError::Choice(choice.into(), error.to_string())
            })?;
            let weight: u32 = weight
                .trim()
                .parse()
                .ok()
                .filter(|weight| *weight < 1_000_000)
                .ok_or_else(|| ParseWeightsError::Weight(weight.into()))?;
            Ok((choice, weight))
        };
        let parts = text.split(',').take(MOST + 1);
        let choices = parts.map(choice).collect::<Result<Vec<_>, _>>()?;
        let sum: u32 = choices.iter().map(|(_, weight)| weight).sum();
        match sum > 0 && choices.len() <= MOST {
            true => Ok(Self(choices)),
            false => Err(ParseWeightsError::Number),
        }
    }
}

impl<T: Copy> Weights<T> {
    /// The choice that any number stands for: each for a part of them that is as large as its weight.
    pub fn choose(&self, number: u64) -> T {
        let sum: u64 = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        // The high half of the product: the number scaled to 0..sum.
        let mut rest = ((u128::from(number) * u128::from(sum)) >> 64) as u64;
        for (choice, weight) in &self.0 {
            match rest.checked_sub(u64::from(*weight)) {
                Some(less) => rest = less,
                None => return *choice,
            }
        }
        unreachable!("a number below the sum of the weights")
    }

    /// What may be chosen.
    pub fn choices(&self) -> impl Iterator<Item = T> {
        let chosen = self.0.iter().filter(|(_, weight)| *weight > 0);
        chosen.map(|(choice, _)| *choice)
    }

    /// All of them, told with `name`: `get 80%, set 20%`.
    pub fn describe(&self, name: impl Fn(T) -> String) -> String {
        let sum: u32 = self.0.iter().map(|(_, weight)| weight).sum();
        let chosen = self.0.iter().filter(|(_, weight)| *weight > 0);
        let parts = chosen.map(|(choice, weight)| match *weight == sum {
            true => name(*choice),
            false => {
                let percent = 100.0 * f64::from(*weight) / f64::from(sum);
                format!("{} {}%", name(*choice), (percent * 10.0).round() / 10.0)
            }
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn choices_come_as_often_as_they_weigh() {
        let weights: Weights<u8> = "1=80, 2=15,3=5,4=0".parse().unwrap();
        let mut random = Random::new(1, 1);
        let mut counts = [0_u32; 5];
        for _ in 0..100_000 {
            counts[usize::from(weights.choose(random.number()))] += 1;
        }
        for (choice, expected) in [(1, 80_000), (2, 15_000), (3, 5_000), (4, 0)] {
            assert!(counts[choice].abs_diff(expected) < 1_300, "{counts:?}");
        }
        assert_eq!(weights.choices().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(weights.describe(|n| n.to_string()), "1 80%, 2 15%, 3 5%");
    }

    #[test]
    fn a_single_choice_needs_no_weight() {
        let weights: Weights<u8> = "7".parse().unwrap();
        assert_eq!(
            [0, u64::MAX / 2, u64::MAX].map(|n| weights.choose(n)),
            [7; 3]
        );
        assert_eq!(weights.describe(|n| n.to_string()), "7");
    }

    #[test]
    fn what_cannot_be_chosen_from_is_refused() {
        for text in [
            "",
            "1=0",
            "1=-1",
            "1=x",
            "1=1.5",
            "x=1",
            "1=1=1",
            "1,,2",
            "1=4294967295",
        ] {
            assert!(text.parse::<Weights<u8>>().is_err(), "{text:?}");
        }
        let many = ["1"; MOST + 1].join(",");
        assert_eq!(many.parse::<Weights<u8>>(), Err(ParseWeightsError::Number));
    }
}
