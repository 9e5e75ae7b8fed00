//! How often each key is asked for: all alike, or few of them most of the time.

use std::{fmt, str::FromStr};

use crate::random::Random;

/// How popular keys are, written `uniform`, `zipf` or `zipf:1.2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Popularity {
    /// Each as often as any other.
    Uniform,
    /// The key of rank r with a weight of 1 / r^exponent.
    Zipf(f64),
}

/// The exponent of most measured caches is near this one.
const USUAL: f64 = 0.99;

impl FromStr for Popularity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':').unwrap_or((text, "")) {
            ("uniform", "") => Ok(Self::Uniform),
            ("zipf", "") => Ok(Self::Zipf(USUAL)),
            ("zipf", exponent) => match exponent.parse() {
                Ok(exponent) if (0.01..=10.0).contains(&exponent) => Ok(Self::Zipf(exponent)),
                _ => Err("an exponent of 0.01 to 10 is expected".into()),
            },
            _ => Err("uniform, zipf or zipf:EXPONENT is expected".into()),
        }
    }
}

impl fmt::Display for Popularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "zipf:{exponent}"),
        }
    }
}

impl Popularity {
    /// Draws from keys 0 to `keys` - 1; key 0 is the most popular one.
    pub fn of(self, keys: u64) -> Draw {
        match self {
            Self::Uniform => Draw::Uniform(keys),
            Self::Zipf(exponent) => Draw::Zipf(Zipf::new(keys, exponent)),
        }
    }
}

/// A way to draw keys.
#[derive(Clone, Debug)]
pub enum Draw {
    /// Of so many keys.
    Uniform(u64),
    /// By rank.
    Zipf(Zipf),
}

impl Draw {
    /// The next key.
    pub fn draw(&self, random: &mut Random) -> u64 {
        match self {
            Self::Uniform(keys) => random.below(*keys),
            Self::Zipf(zipf) => zipf.draw(random) - 1,
        }
    }
}

/// Draws ranks in constant time and memory, by rejection-inversion (Hörmann and
/// Derflinger, 1996): the histogram of the weights lies below the integral of
/// x^-exponent, which is easily inverted; what falls between the two is drawn anew.
#[derive(Clone, Debug)]
pub struct Zipf {
    exponent: f64,
    ranks: f64,
    /// The integral from where the first rank begins, and to where the last one ends.
    first: f64,
    last: f64,
    /// So near to its rank a point is never rejected.
    certain: f64,
}

impl Zipf {
    fn new(ranks: u64, exponent: f64) -> Self {
        let mut zipf = Self {
            exponent,
            ranks: ranks as f64,
            first: 0.0,
            last: 0.0,
            certain: 0.0,
        };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(zipf.ranks + 0.5);
        zipf.certain = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.weight(2.0));
        zipf
    }

    fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.last + random.unit() * (self.first - self.last);
            let point = self.inverse(area);
            let rank = point.round().clamp(1.0, self.ranks);
            let is_below = || area >= self.integral(rank + 0.5) - self.weight(rank);
            if rank - point <= self.certain || is_below() {
                return rank as u64;
            }
        }
    }

    fn weight(&self, rank: f64) -> f64 {
        (-self.exponent * rank.ln()).exp()
    }

    /// The integral of the weight from 1 to `x`: (x^(1-s) - 1) / (1-s), or ln x for s = 1.
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        let power = (1.0 - self.exponent) * log;
        // expm1(t) / t, which is 1 at 0.
        let ratio = match power.abs() > 1e-8 {
            true => power.exp_m1() / power,
            false => 1.0 + power / 2.0,
        };
        ratio * log
    }

    fn inverse(&self, area: f64) -> f64 {
        let power = ((1.0 - self.exponent) * area).max(-1.0);
        // ln_1p(t) / t, which is 1 at 0.
        let ratio = match power.abs() > 1e-8 {
            true => power.ln_1p() / power,
            false => 1.0 - power / 2.0,
        };
        (ratio * area).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_as_often_as_zipf_says() {
        const DRAWS: u32 = 200_000;
        for exponent in [0.5, 0.99, 1.0, 1.5, 3.0] {
            let draw = Popularity::Zipf(exponent).of(100);
            let mut random = Random::new(1, 2);
            let mut counts = [0_u32; 100];
            for _ in 0..DRAWS {
                counts[draw.draw(&mut random) as usize] += 1;
            }
            let weight = |rank: usize| (rank as f64 + 1.0).powf(-exponent);
            let sum: f64 = (0..100).map(weight).sum();
            for (rank, count) in counts.into_iter().enumerate() {
                let expected = f64::from(DRAWS) * weight(rank) / sum;
                let away = (f64::from(count) - expected).abs();
                // Six standard deviations, and some for the rarest.
                assert!(
                    away < 6.0 * expected.sqrt() + 6.0,
                    "{exponent}: rank {rank}: {count}, {expected}"
                );
            }
        }
    }

    #[test]
    fn no_key_is_drawn_that_is_not_there() {
        let mut random = Random::new(3, 4);
        for keys in [1, 2, 3, 1_000_000_000] {
            for popularity in [
                Popularity::Uniform,
                Popularity::Zipf(0.01),
                Popularity::Zipf(10.0),
            ] {
                let draw = popularity.of(keys);
                assert!(
                    (0..1000).all(|_| draw.draw(&mut random) < keys),
                    "{popularity} {keys}"
                );
            }
        }
    }

    #[test]
    fn popularities_are_written_as_they_are_read() {
        for text in ["uniform", "zipf:0.99", "zipf:1.5"] {
            assert_eq!(text.parse::<Popularity>().unwrap().to_string(), text);
        }
        assert_eq!("zipf".parse(), Ok(Popularity::Zipf(USUAL)));
        for text in [
            "", "zipf:0", "zipf:NaN", "zipf:inf", "zipf:-1", "zipf:11", "normal",
        ] {
            assert!(text.parse::<Popularity>().is_err(), "{text:?}");
        }
    }
}
