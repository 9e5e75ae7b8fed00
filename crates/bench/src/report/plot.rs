//! Curves, as SVG.

use std::fmt::Write;

use super::{escape::escape, text::figure};

/// Pixels of a plot, and of the margins around its frame.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// How numbers become places on an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from 0 on.
    Linear,
    /// By their logarithm; numbers that are not above 0 have no place.
    Log,
    /// Parts of a whole by the logarithm of what they leave: 0, 90 %, 99 %, ...
    Nines,
}

/// Some points with a name, joined by a line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Which colour: of the same target, the same.
    pub colour: usize,
    /// Whether the line is dashed.
    pub is_dashed: bool,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// A plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What is to the right.
    pub x: (&'static str, Scale),
    /// What is up.
    pub y: (&'static str, Scale),
    /// The curves.
    pub series: Vec<Series>,
}

/// The class of a colour; the style of the page knows them.
pub(super) fn colour(number: usize) -> usize {
    number % 4
}

impl Scale {
    /// The place of a number, in units of its own.
    fn place(self, number: f64) -> Option<f64> {
        let place = match self {
            Self::Linear => number,
            Self::Log => number.log10(),
            // The last of all has no place of its own; it is put at the edge.
            Self::Nines => -(1.0 - number).max(1e-5).log10(),
        };
        place.is_finite().then_some(place)
    }

    /// Marks between two places: where, and what is written there.
    fn marks(self, low: f64, high: f64) -> Vec<(f64, String)> {
        match self {
            Self::Linear => (0..=4)
                .map(|n| low + (high - low) * f64::from(n) / 4.0)
                .map(|place| (place, figure(place)))
                .collect(),
            Self::Log | Self::Nines => (low.ceil() as i32..=high.floor() as i32)
                .map(|place| (f64::from(place), self.name(place)))
                .collect(),
        }
    }

    fn name(self, place: i32) -> String {
        match self {
            Self::Nines if place == 0 => "0".into(),
            Self::Nines => {
                let part = 100.0 * (1.0 - 10_f64.powi(-place));
                format!("{part:.*}%", usize::try_from(place - 2).unwrap_or(0))
            }
            _ => figure(10_f64.powi(place))
                .replace(".00", "")
                .replace(".0", ""),
        }
    }

    /// The places that an axis spans.
    fn span(self, numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
        let places: Vec<f64> = numbers.filter_map(|number| self.place(number)).collect();
        let low = places.iter().copied().reduce(f64::min)?;
        let high = places.iter().copied().reduce(f64::max)?;
        Some(match self {
            Self::Linear => (0.0, if high > 0.0 { high * 1.1 } else { 1.0 }),
            Self::Log => (low.floor(), high.ceil().max(low.floor() + 1.0)),
            Self::Nines => (0.0, high.max(1.0)),
        })
    }
}

impl Plot {
    /// The plot as SVG; a note if there is nothing to draw.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let across = self.x.1.span(points().map(|(x, _)| *x));
        let up = self.y.1.span(points().map(|(_, y)| *y));
        let (Some(across), Some(up)) = (across, up) else {
            return "<p class=\"none\">Nothing to draw.</p>".into();
        };
        let frame = Frame { across, up };
        let legend = self.series.len().div_ceil(2) as f64 * 18.0;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">",
            HEIGHT + legend
        );
        let written = self.draw(&mut svg, &frame);
        written.expect("memory to write to");
        svg.push_str("</svg>");
        svg
    }

    fn draw(&self, svg: &mut String, frame: &Frame) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (place, name) in self.x.1.marks(frame.across.0, frame.across.1) {
            let x = frame.x(place);
            write!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>")?;
            write!(
                svg,
                "<text class=\"mid\" x=\"{x:.1}\" y=\"{}\">{name}</text>",
                bottom + 16.0
            )?;
        }
        for (place, name) in self.y.1.marks(frame.up.0, frame.up.1) {
            let y = frame.y(place);
            write!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>")?;
            write!(
                svg,
                "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{name}</text>",
                LEFT - 6.0,
                y + 4.0
            )?;
        }
        let (middle, low) = ((LEFT + right) / 2.0, HEIGHT - 8.0);
        write!(
            svg,
            "<text class=\"mid\" x=\"{middle}\" y=\"{low}\">{}</text>",
            escape(self.x.0)
        )?;
        let height = f64::midpoint(TOP, bottom);
        write!(
            svg,
            "<text class=\"mid\" transform=\"translate(14 {height}) rotate(-90)\">{}</text>",
            escape(self.y.0)
        )?;
        for (number, series) in self.series.iter().enumerate() {
            self.curve(svg, frame, series)?;
            let x = LEFT + (number % 2) as f64 * (right - LEFT) / 2.0;
            let y = HEIGHT + (number / 2) as f64 * 18.0 + 6.0;
            let class = class(series);
            write!(svg, "<path class=\"{class}\" d=\"M{x} {y}h24\"/>")?;
            write!(
                svg,
                "<text x=\"{}\" y=\"{}\">{}</text>",
                x + 30.0,
                y + 4.0,
                escape(&series.name)
            )?;
        }
        Ok(())
    }

    fn curve(&self, svg: &mut String, frame: &Frame, series: &Series) -> std::fmt::Result {
        let place = |(x, y): &(f64, f64)| Some((self.x.1.place(*x)?, self.y.1.place(*y)?));
        let places: Vec<_> = series.points.iter().filter_map(place).collect();
        let mut path = String::new();
        for (number, (x, y)) in places.iter().enumerate() {
            let step = if number == 0 { 'M' } else { 'L' };
            write!(path, "{step}{:.1} {:.1}", frame.x(*x), frame.y(*y))?;
        }
        write!(svg, "<path class=\"{}\" d=\"{path}\"/>", class(series))?;
        if places.len() <= 20 {
            for (x, y) in places {
                let colour = colour(series.colour);
                write!(
                    svg,
                    "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                    frame.x(x),
                    frame.y(y)
                )?;
            }
        }
        Ok(())
    }
}

fn class(series: &Series) -> String {
    let dashed = if series.is_dashed { " dashed" } else { "" };
    format!("line c{}{dashed}", colour(series.colour))
}

/// The places that the axes span.
struct Frame {
    across: (f64, f64),
    up: (f64, f64),
}

impl Frame {
    fn x(&self, place: f64) -> f64 {
        LEFT + part(self.across, place) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, place: f64) -> f64 {
        HEIGHT - BOTTOM - part(self.up, place) * (HEIGHT - TOP - BOTTOM)
    }
}

fn part((low, high): (f64, f64), place: f64) -> f64 {
    ((place - low) / (high - low)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(x: Scale, y: Scale, points: &[(f64, f64)]) -> String {
        let series = Series {
            name: "<a&b>".into(),
            colour: 5,
            is_dashed: true,
            points: points.to_vec(),
        };
        Plot {
            x: ("x", x),
            y: ("y", y),
            series: vec![series],
        }
        .svg()
    }

    #[test]
    fn points_are_where_their_numbers_put_them() {
        let svg = plot(
            Scale::Log,
            Scale::Log,
            &[(1.0, 1.0), (10.0, 100.0), (100.0, 10.0)],
        );
        let (middle, half) = (
            LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
            TOP + (HEIGHT - TOP - BOTTOM) / 2.0,
        );
        let path = format!(
            "M{LEFT:.1} {:.1}L{middle:.1} {TOP:.1}L{:.1} {half:.1}",
            HEIGHT - BOTTOM,
            WIDTH - RIGHT
        );
        assert!(svg.contains(&path), "{svg}");
        assert!(svg.contains("line c1 dashed"), "{svg}");
        assert!(
            svg.contains("&lt;a&amp;b&gt;") && !svg.contains("<a&b>"),
            "{svg}"
        );
    }

    #[test]
    fn nines_are_as_far_apart_as_tens() {
        let places = [0.0, 0.9, 0.99, 0.999, 1.0].map(|part| Scale::Nines.place(part).unwrap());
        for (place, expected) in places.into_iter().zip([0.0, 1.0, 2.0, 3.0, 5.0]) {
            assert!((place - expected).abs() < 1e-9);
        }
        let names: Vec<_> = Scale::Nines
            .marks(0.0, 4.0)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        assert_eq!(names, ["0", "90%", "99%", "99.9%", "99.99%"]);
    }

    #[test]
    fn numbers_without_a_place_are_left_out() {
        let svg = plot(
            Scale::Linear,
            Scale::Log,
            &[
                (1.0, 0.0),
                (2.0, f64::NAN),
                (f64::INFINITY, 1.0),
                (1.0, 5.0),
            ],
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert!(plot(Scale::Log, Scale::Log, &[]).contains("Nothing to draw"));
        assert!(plot(Scale::Log, Scale::Log, &[(0.0, -1.0)]).contains("Nothing to draw"));
        assert!(!plot(Scale::Linear, Scale::Linear, &[(0.0, 0.0)]).contains("NaN"));
    }
}
