//! A report for a terminal.

use std::fmt::Write;

use super::document::{AnsweredDocument, Document, RoundDocument, WorkloadDocument};
use crate::memory::Memory;

/// What matters of a report.
pub fn text(document: &Document) -> String {
    let mut text = String::new();
    for workload in &document.workloads {
        let written = write_workload(&mut text, workload, &document.targets);
        written.expect("memory to write to");
    }
    text
}

fn write_workload(
    text: &mut String,
    workload: &WorkloadDocument,
    targets: &[String],
) -> std::fmt::Result {
    writeln!(text, "\n{}", workload.name)?;
    for total in &workload.totals {
        writeln!(text, "  {}: {}", targets[total.target], speed(total))?;
        for (kind, answered) in &total.answered {
            writeln!(text, "    {kind:<6} {}", times(answered))?;
        }
        if let Some(memory) = workload.memory.get(total.target) {
            write_memory(text, memory, workload.bytes)?;
        }
        write_failures(text, total)?;
    }
    for (target, failed) in workload.failed_around.iter().enumerate() {
        for (reason, count) in failed {
            writeln!(
                text,
                "  {}: before or after: {count} failed: {reason}",
                targets[target]
            )?;
        }
    }
    if let [first, second] = targets
        && let Some(most) = workload.ratios.first()
    {
        let alternations = most.alternations;
        writeln!(
            text,
            "  {first} against {second}, medians of {alternations} alternations:"
        )?;
        for ratio in &workload.ratios {
            let (least, most) = (ratio.least, ratio.most);
            let (first, second) = (figure(ratio.first), figure(ratio.second));
            let measure = &ratio.measure;
            writeln!(
                text,
                "    {measure:<14} {:>5.2}x  ({least:.2}-{most:.2})  {first} : {second}",
                ratio.ratio
            )?;
        }
    }
    Ok(())
}

fn speed(total: &RoundDocument) -> String {
    let (requests, bytes) = (total.requests_per_second, total.bytes_per_second / 1e9);
    let (seconds, verified) = (total.seconds, total.verified);
    format!("{requests:.0} requests/s, {bytes:.3} GB/s in {seconds:.1} s, {verified} verified")
}

fn times(answered: &AnsweredDocument) -> String {
    let latency = &answered.latency;
    let (p50, p90, p99) = (
        figure(latency.p50),
        figure(latency.p90),
        figure(latency.p99),
    );
    let (p999, max) = (figure(latency.p999), figure(latency.max));
    format!(
        "{:>9}  p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p999}  max {max} µs",
        answered.count
    )
}

fn write_memory(text: &mut String, memory: &Memory, bytes: u64) -> std::fmt::Result {
    let Memory { used, resident } = memory;
    let used = used.map(|used| {
        let each = used as f64 / bytes.max(1) as f64;
        format!("{}B used, {each:.2} a byte of value", figure(used as f64))
    });
    let resident = resident.map(|it| format!("{}B resident where asked", figure(it as f64)));
    let told: Vec<String> = [used, resident].into_iter().flatten().collect();
    match told.is_empty() {
        true => Ok(()),
        false => writeln!(text, "    memory {}", told.join(", ")),
    }
}

fn write_failures(text: &mut String, total: &RoundDocument) -> std::fmt::Result {
    for (reason, count) in &total.failed {
        writeln!(text, "    {count} failed: {reason}")?;
    }
    if total.unstarted > 0 {
        writeln!(
            text,
            "    {} were due and never sent: the rate is too high",
            total.unstarted
        )?;
    }
    Ok(())
}

/// A number with three digits that count: `0.123`, `12.3`, `123`, `12.3M`.
pub fn figure(number: f64) -> String {
    let (number, unit) = match number.abs() {
        size if size >= 1e9 => (number / 1e9, "G"),
        size if size >= 1e6 => (number / 1e6, "M"),
        size if size >= 1e4 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    match number.abs() {
        size if size >= 99.95 => format!("{number:.0}{unit}"),
        size if size >= 9.995 => format!("{number:.1}{unit}"),
        size if size >= 0.9995 => format!("{number:.2}{unit}"),
        _ => format!("{number:.3}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::tests::report;

    #[test]
    fn failures_and_ratios_are_told() {
        let text = text(&report());
        assert!(text.contains("1 failed: refused: OOM"), "{text}");
        assert!(
            text.contains(
                "redis://127.0.0.1:1 against infinicache://127.0.0.1:2, medians of 2 alternations:"
            ),
            "{text}"
        );
        assert!(
            text.contains("requests/s      1.95x  (1.91-2.00)"),
            "{text}"
        );
        assert!(
            text.contains("get p50 µs      2.00x  (2.00-2.00)  10.0 : 20.0"),
            "{text}"
        );
    }

    #[test]
    fn figures_have_three_digits() {
        for (number, text) in [
            (0.0, "0.000"),
            (0.1234, "0.123"),
            (1.0, "1.00"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (999.6, "1000"),
            (12_345.0, "12.3k"),
            (1.5e9, "1.50G"),
        ] {
            assert_eq!(figure(number), text);
        }
    }
}
