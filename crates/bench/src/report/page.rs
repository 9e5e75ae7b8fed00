//! A report as a page that needs nothing else: no scripts, no fonts, no pictures
//! from elsewhere.

use std::fmt::Write;

use super::{
    curves::curves,
    document::{Document, RoundDocument, WorkloadDocument},
    escape::escape,
    intervals,
    plot::{Plot, Scale, Series},
    text::figure,
};

const STYLE: &str = "\
:root{color-scheme:light dark;--c0:#2563eb;--c1:#d97706;--c2:#059669;--c3:#9333ea;--line:#8884}\
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em}\
h2{margin-top:2em;border-top:1px solid var(--line);padding-top:1em}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;border-bottom:1px solid var(--line);text-align:right}\
td:first-child,th:first-child{text-align:left}\
svg{width:100%;max-width:640px;display:block;margin:1em 0}text{font:12px system-ui,sans-serif;fill:currentColor}\
.mid{text-anchor:middle}.end{text-anchor:end}.grid{stroke:var(--line)}.axis{stroke:currentColor}\
.line{fill:none;stroke-width:2}.dashed{stroke-dasharray:5 4}.bar{stroke-width:8;stroke-opacity:.35}\
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}\
.dot{stroke:none}.dot.c0{fill:var(--c0)}.dot.c1{fill:var(--c1)}.dot.c2{fill:var(--c2)}.dot.c3{fill:var(--c3)}\
.bad{color:#dc2626}.none{opacity:.6}";

/// A time in seconds since 1970, as people write it, in UTC.
fn date(seconds: u64) -> String {
    // The civil calendar in eras of 400 years that begin in March.
    let (days, minutes) = (seconds / 86_400 + 719_468, seconds % 86_400 / 60);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + next;
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        minutes / 60,
        minutes % 60
    )
}

/// The page of a report.
pub fn page(document: &Document) -> String {
    let mut page = String::new();
    let written = write_page(&mut page, document);
    written.expect("memory to write to");
    page
}

fn write_page(page: &mut String, document: &Document) -> std::fmt::Result {
    let targets = document.targets.join(" and ");
    let title = escape(&format!("Benchmark of {targets}"));
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
    )?;
    write!(
        page,
        "<meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>"
    )?;
    write!(page, "<style>{STYLE}</style></head><body><h1>{title}</h1>")?;
    let (generator, cores) = (escape(&document.generator), document.cores);
    let made_at = date(document.made_at);
    write!(
        page,
        "<p>{generator}, {made_at}, on a machine with {cores} cores.</p>"
    )?;
    for curve in curves(document) {
        let title = escape(&curve.title);
        write!(page, "<h2>{title}</h2>{}", curve.plot.svg())?;
    }
    for workload in &document.workloads {
        write_workload(page, workload, &document.targets)?;
    }
    write!(page, "</body></html>")
}

fn write_workload(
    page: &mut String,
    workload: &WorkloadDocument,
    targets: &[String],
) -> std::fmt::Result {
    write!(page, "<h2>{}</h2>", escape(&workload.name))?;
    write!(
        page,
        "<p>{} loop, rounds of {} s.</p>",
        workload.r#loop, workload.duration
    )?;
    write_table(page, workload, targets)?;
    for (who, total) in workload
        .totals
        .iter()
        .map(|total| (&targets[total.target], total))
    {
        let around = &workload.failed_around[total.target];
        for (reason, count) in total.failed.iter().chain(around) {
            write!(
                page,
                "<p class=\"bad\">{}: {count} failed: {}</p>",
                escape(who),
                escape(reason)
            )?;
        }
        if total.unstarted > 0 {
            write!(
                page,
                "<p class=\"bad\">{}: {} were due and never sent</p>",
                escape(who),
                total.unstarted
            )?;
        }
    }
    if let [first, second] = targets {
        write!(
            page,
            "<h3>{} against {}</h3>",
            escape(first),
            escape(second)
        )?;
        write!(
            page,
            "<p>Ratios of medians; the bars span the alternations; right of 1x the first is better.</p>"
        )?;
        page.push_str(&intervals::svg(&workload.ratios));
    }
    write!(page, "<h3>Latency</h3>{}", latency(workload, targets).svg())?;
    if workload.rounds.len() > targets.len() {
        write!(page, "<h3>Rounds</h3>{}", rounds(workload, targets).svg())?;
    }
    Ok(())
}

fn write_table(
    page: &mut String,
    workload: &WorkloadDocument,
    targets: &[String],
) -> std::fmt::Result {
    page.push_str("<table><tr><th></th><th>requests/s</th><th>GB/s</th><th>count</th>");
    page.push_str(
        "<th>p50 µs</th><th>p99 µs</th><th>p99.9 µs</th><th>max µs</th><th>verified</th></tr>",
    );
    for total in &workload.totals {
        let RoundDocument {
            requests_per_second,
            bytes_per_second,
            verified,
            ..
        } = total;
        write!(page, "<tr><td>{}</td>", escape(&targets[total.target]))?;
        write!(
            page,
            "<td>{}</td><td>{:.3}</td>",
            figure(*requests_per_second),
            bytes_per_second / 1e9
        )?;
        write!(
            page,
            "<td></td><td></td><td></td><td></td><td></td><td>{verified}</td></tr>"
        )?;
        for (kind, answered) in &total.answered {
            let latency = &answered.latency;
            write!(
                page,
                "<tr><td>&nbsp;&nbsp;{kind}</td><td>{}</td>",
                figure(answered.count as f64 / total.seconds)
            )?;
            let bytes = answered.bytes as f64 / total.seconds / 1e9;
            write!(page, "<td>{bytes:.3}</td><td>{}</td>", answered.count)?;
            for time in [latency.p50, latency.p99, latency.p999, latency.max] {
                write!(page, "<td>{}</td>", figure(time))?;
            }
            page.push_str("<td></td></tr>");
        }
    }
    page.push_str("</table>");
    Ok(())
}

/// How long requests took, by the part of them that took no longer.
fn latency(workload: &WorkloadDocument, targets: &[String]) -> Plot {
    let of_target = |total: &RoundDocument| {
        let target = total.target;
        let series = total
            .answered
            .iter()
            .enumerate()
            .map(move |(number, (kind, answered))| Series {
                name: format!("{kind} {}", targets[target]),
                colour: target,
                is_dashed: number > 0,
                points: answered.latency.curve.clone(),
            });
        series.collect::<Vec<_>>()
    };
    Plot {
        x: ("part of the requests", Scale::Nines),
        y: ("latency, µs", Scale::Log),
        series: workload.totals.iter().flat_map(of_target).collect(),
    }
}

/// Throughput round by round.
fn rounds(workload: &WorkloadDocument, targets: &[String]) -> Plot {
    let of_target = |(target, name): (usize, &String)| {
        let of = workload
            .rounds
            .iter()
            .filter(|round| round.target == target);
        let rates = of.map(|round| round.requests_per_second);
        Series {
            name: name.clone(),
            colour: target,
            is_dashed: false,
            points: rates
                .enumerate()
                .map(|(round, rate)| (round as f64 + 1.0, rate))
                .collect(),
        }
    };
    Plot {
        x: ("round", Scale::Linear),
        y: ("requests/s", Scale::Linear),
        series: targets.iter().enumerate().map(of_target).collect(),
    }
}

#[cfg(test)]
mod tests;
