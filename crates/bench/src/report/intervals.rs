//! Ratios with their spread, as SVG: a mark for the ratio of the medians, a bar
//! from the least to the greatest, and a line where both are equal.

use std::fmt::Write;

use super::escape::escape;
use crate::compare::Ratio;

const WIDTH: f64 = 640.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 70.0;
const ROW: f64 = 24.0;

/// The drawing of some ratios, one a row.
pub fn svg(ratios: &[Ratio]) -> String {
    if ratios.is_empty() {
        return "<p class=\"none\">Nothing to compare.</p>".into();
    }
    let bounds = ratios
        .iter()
        .flat_map(|ratio| [ratio.least, ratio.most, ratio.ratio]);
    // Twice as fast is as far to the right as half as fast is to the left.
    let reach = bounds
        .map(|bound| bound.ln().abs())
        .fold(2_f64.ln(), f64::max)
        * 1.05;
    let x = |ratio: f64| {
        let part = (ratio.ln() / reach + 1.0) / 2.0;
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    };
    let height = ROW * (ratios.len() as f64 + 1.0);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    let written = draw(&mut svg, ratios, x, height);
    written.expect("memory to write to");
    svg.push_str("</svg>");
    svg
}

fn draw(
    svg: &mut String,
    ratios: &[Ratio],
    x: impl Fn(f64) -> f64,
    height: f64,
) -> std::fmt::Result {
    let low = height - ROW;
    for mark in [0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0] {
        let at = x(mark);
        if at <= LEFT || at >= WIDTH - RIGHT {
            continue;
        }
        let class = if mark == 1.0 { "axis" } else { "grid" };
        write!(svg, "<path class=\"{class}\" d=\"M{at:.1} 4V{low:.1}\"/>")?;
        write!(
            svg,
            "<text class=\"mid\" x=\"{at:.1}\" y=\"{:.1}\">{mark}x</text>",
            low + 16.0
        )?;
    }
    for (row, ratio) in ratios.iter().enumerate() {
        let y = (row as f64 + 0.5) * ROW;
        let (least, most, middle) = (x(ratio.least), x(ratio.most), x(ratio.ratio));
        let colour = if ratio.ratio >= 1.0 { "c0" } else { "c1" };
        write!(
            svg,
            "<text class=\"end\" x=\"{}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            escape(&ratio.measure)
        )?;
        write!(
            svg,
            "<path class=\"bar {colour}\" d=\"M{least:.1} {y:.1}H{most:.1}\"/>"
        )?;
        write!(
            svg,
            "<circle class=\"dot {colour}\" cx=\"{middle:.1}\" cy=\"{y:.1}\" r=\"5\"/>"
        )?;
        write!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\">{:.2}x</text>",
            WIDTH - RIGHT + 8.0,
            y + 4.0,
            ratio.ratio
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_in_the_middle_and_better_is_to_the_right() {
        let ratio = |ratio: f64| Ratio {
            measure: "requests/s".into(),
            first: ratio,
            second: 1.0,
            ratio,
            least: ratio / 1.5,
            most: ratio * 1.5,
            alternations: 5,
        };
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        let dot = |svg: &str| -> f64 {
            let (_, rest) = svg.split_once("cx=\"").unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        assert!((dot(&svg(&[ratio(1.0)])) - middle).abs() < 0.1);
        assert!(dot(&svg(&[ratio(2.0)])) > middle + 50.0);
        assert!(dot(&svg(&[ratio(0.5)])) < middle - 50.0);
        assert!(svg(&[]).contains("Nothing"));
    }
}
