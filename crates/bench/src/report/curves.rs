//! How throughput and memory go with what workloads differ in.
//!
//! Workloads that differ in one thing only, and in that by numbers, are the
//! points of a curve: sizes, nodes, keys, connections, pipelines.

use std::collections::BTreeMap;

use super::{
    document::{Document, WorkloadDocument},
    plot::{Plot, Scale, Series},
};
use crate::workload::Axis;

/// A plot, and what it shows.
pub(super) struct Curve {
    pub(super) title: String,
    pub(super) plot: Plot,
}

/// Workloads by where they are along an axis.
type Places<'a> = BTreeMap<u64, &'a WorkloadDocument>;

/// All curves that have two points or more.
pub(super) fn curves(document: &Document) -> Vec<Curve> {
    let mut groups: BTreeMap<(Axis, &str), Places<'_>> = BTreeMap::new();
    for workload in &document.workloads {
        for along in &workload.along {
            let group = groups.entry((along.axis, &along.besides)).or_default();
            group.insert(along.place, workload);
        }
    }
    groups.retain(|_, places| places.len() > 1);
    let of = |((axis, besides), places): (&(Axis, &str), &Places<'_>)| {
        let title = |what: &str| format!("{what} by {}: {besides}", name(*axis));
        let throughput = Curve {
            title: title("Throughput"),
            plot: throughput(*axis, places, &document.targets),
        };
        let memory = Curve {
            title: title("Memory"),
            plot: memory(*axis, places, &document.targets),
        };
        let is_told = memory.plot.series.iter().any(|it| !it.points.is_empty());
        [Some(throughput), is_told.then_some(memory)]
    };
    groups.iter().flat_map(of).flatten().collect()
}

fn name(axis: Axis) -> &'static str {
    match axis {
        Axis::Size => "size",
        Axis::Nodes => "nodes",
        Axis::Keys => "keys",
        Axis::Connections => "connections",
        Axis::Pipeline => "pipeline",
    }
}

fn label(axis: Axis) -> &'static str {
    match axis {
        Axis::Size => "bytes of a value",
        Axis::Nodes => "nodes",
        Axis::Keys => "keys",
        Axis::Connections => "connections",
        Axis::Pipeline => "requests sent at once",
    }
}

fn throughput(axis: Axis, places: &Places<'_>, targets: &[String]) -> Plot {
    let of_size = axis == Axis::Size;
    let speed = |workload: &WorkloadDocument, target: usize| {
        let total = &workload.totals[target];
        Some(match of_size {
            true => total.bytes_per_second / 1e9,
            false => total.requests_per_second,
        })
    };
    Plot {
        x: (label(axis), Scale::Log),
        y: (if of_size { "GB/s" } else { "requests/s" }, Scale::Log),
        series: series(places, targets, speed),
    }
}

/// Where values are large or spread, what they take; where there are many of something, what the
/// server needs for that.
fn memory(axis: Axis, places: &Places<'_>, targets: &[String]) -> Plot {
    let of_values = matches!(axis, Axis::Size | Axis::Nodes);
    let taken = |workload: &WorkloadDocument, target: usize| {
        let memory = workload.memory.get(target)?;
        match of_values {
            true => Some(memory.used? as f64 / workload.bytes.max(1) as f64),
            false => Some(memory.resident? as f64 / 1e6),
        }
    };
    let what = match of_values {
        true => "bytes used a byte of value",
        false => "MB of the process asked",
    };
    Plot {
        x: (label(axis), Scale::Log),
        y: (what, if of_values { Scale::Linear } else { Scale::Log }),
        series: series(places, targets, taken),
    }
}

/// One line for each target.
fn series(
    places: &Places<'_>,
    targets: &[String],
    of: impl Fn(&WorkloadDocument, usize) -> Option<f64>,
) -> Vec<Series> {
    let line = |(target, name): (usize, &String)| {
        let point = |(place, workload): (&u64, &&WorkloadDocument)| {
            Some((*place as f64, of(workload, target)?))
        };
        Series {
            name: name.clone(),
            colour: target,
            is_dashed: false,
            points: places.iter().filter_map(point).collect(),
        }
    };
    targets.iter().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::tests::report;

    #[test]
    fn workloads_that_differ_in_one_thing_make_a_curve_of_throughput_and_one_of_memory() {
        let curves = curves(&report());
        let titles = curves.iter().map(|curve| curve.title.as_str());
        let besides = "get 80%, set 20% · 2 connections · 100 keys";
        assert_eq!(
            titles.collect::<Vec<_>>(),
            [
                format!("Throughput by size: {besides}"),
                format!("Memory by size: {besides}"),
            ]
        );
        let [throughput, memory] = &curves[..] else {
            unreachable!()
        };
        let places: Vec<f64> = throughput.plot.series[1]
            .points
            .iter()
            .map(|it| it.0)
            .collect();
        assert_eq!(places, [1024.0, 1048576.0]);
        assert_eq!(memory.plot.series[0].points[0], (1024.0, 10.24));
        assert!(memory.plot.series[1].points.is_empty(), "it does not tell");
    }

    #[test]
    fn workloads_that_differ_in_more_are_on_no_curve() {
        let mut document = report();
        for along in &mut document.workloads[0].along {
            along.besides.push_str(" · something else");
        }
        assert!(curves(&document).is_empty());
    }
}
