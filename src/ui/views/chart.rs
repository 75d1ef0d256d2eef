//! Charts as SVG: bars that stand on each other, and lines. Colours come from classes of the style
//! sheet; each bar has a title with its numbers.

use std::fmt::{self, Write};
use std::time::Duration;

use askama::filters::HtmlSafe;

use super::stats::{failed, starts};
use crate::domain::attempt::ErrorKind;
use crate::domain::counts::Counts;
use crate::domain::when;
use crate::outbox::Steps;

const WIDTH: u64 = 720;
const HEIGHT: u64 = 120;
const SPARK: (u64, u64) = (96, 20);

/// A drawing. Only numbers and words of this module and of times are in it.
#[derive(Clone, Debug)]
pub struct Chart(String);

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Chart {}

/// A row of the table beside a chart.
#[derive(Debug)]
pub struct Row {
    pub at: String,
    pub delivered: u64,
    pub failed: u64,
    pub p50: String,
    pub p95: String,
}

/// The numbers of the steps in which there was anything.
pub fn rows(steps: Steps, counts: &[Counts]) -> Vec<Row> {
    let took = |counts: &Counts, hundredths| super::stats::took(counts, hundredths);
    let all = starts(steps)
        .zip(counts)
        .filter(|(_, counts)| !counts.is_empty());
    all.map(|(at, counts)| Row {
        at: when::moment(at).chars().take(16).collect(),
        delivered: counts.delivered(),
        failed: failed(counts),
        p50: took(counts, 50),
        p95: took(counts, 95),
    })
    .collect()
}

/// Attempts by outcome: on what was delivered stands what was answered with an error, and on that
/// what was not answered.
pub fn volume(steps: Steps, counts: &[Counts]) -> Chart {
    let most = counts.iter().map(|one| one.delivered() + failed(one)).max();
    let most = most.unwrap_or(0).max(1);
    let words = "Attempts: delivered, answered with an error, not answered";
    let mut out = begin(words, (WIDTH, HEIGHT), "chart");
    let width = WIDTH as f64 / counts.len().max(1) as f64;
    for (n, (at, one)) in starts(steps).zip(counts).enumerate() {
        let refused = one.failed(ErrorKind::Status);
        let parts = [
            ("good", one.delivered()),
            ("warn", refused),
            ("bad", failed(one) - refused),
        ];
        let [(_, good), _, (_, silent)] = parts;
        if good + refused + silent == 0 {
            continue;
        }
        let (x, gap) = (n as f64 * width, (width * 0.15).min(2.0));
        let at = when::moment(at);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<g><title>{at}: {good} delivered, {refused} answered with an error, {silent} not answered</title>"
        );
        let mut top = HEIGHT as f64;
        for (class, count) in parts {
            let height = count as f64 / most as f64 * HEIGHT as f64;
            top -= height;
            bar(&mut out, class, (x, top), (width - gap, height));
        }
        out.push_str("</g>");
    }
    axis(&mut out, steps, &most.to_string());
    Chart(out)
}

/// How long attempts took: half of them, and 95 of 100.
pub fn latency(steps: Steps, counts: &[Counts]) -> Chart {
    let millis = |one: &Counts, hundredths| one.percentile(hundredths).map(|took| took.as_millis());
    let most = counts.iter().filter_map(|one| millis(one, 95)).max();
    let most = most.unwrap_or(0).max(1);
    let mut out = begin(
        "How long attempts took: p50 and p95",
        (WIDTH, HEIGHT),
        "chart",
    );
    let width = WIDTH as f64 / counts.len().max(1) as f64;
    let height = |took: u128| HEIGHT as f64 - took as f64 / most as f64 * (HEIGHT as f64 - 2.0);
    for (class, hundredths) in [("p95", 95), ("p50", 50)] {
        // A step without attempts is a gap.
        let points = counts.iter().enumerate();
        let points: Vec<Option<(f64, f64)>> = points
            .map(|(n, one)| Some(((n as f64 + 0.5) * width, height(millis(one, hundredths)?))))
            .collect();
        for line in points
            .split(Option::is_none)
            .filter(|line| !line.is_empty())
        {
            let _ = write!(out, "<polyline class=\"{class}\" points=\"");
            for (x, y) in line.iter().flatten() {
                let _ = write!(out, "{x:.1},{y:.1} ");
            }
            out.push_str("\"/>");
            if let [Some((x, y))] = line {
                let _ = write!(
                    out,
                    "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>"
                );
            }
        }
    }
    for (n, (at, one)) in starts(steps).zip(counts).enumerate() {
        if let (Some(half), Some(most)) = (one.percentile(50), one.percentile(95)) {
            let (at, half, most) = (when::moment(at), when::span(half), when::span(most));
            let x = n as f64 * width;
            let _ = write!(out, "<g><title>{at}: p50 {half}, p95 {most}</title>");
            bar(&mut out, "over", (x, 0.0), (width, HEIGHT as f64));
            out.push_str("</g>");
        }
    }
    let most = Duration::from_millis(u64::try_from(most).unwrap_or(u64::MAX));
    axis(&mut out, steps, &when::span(most));
    Chart(out)
}

/// A small chart for a table.
pub fn sparkline(counts: &[Counts]) -> Chart {
    let most = counts.iter().map(|one| one.delivered() + failed(one)).max();
    let most = most.unwrap_or(0).max(1);
    let (width, height) = SPARK;
    let all = super::stats::sum(counts);
    let words = format!(
        "24 hours: {} delivered, {} failed",
        all.delivered(),
        failed(&all)
    );
    let mut out = begin(&words, SPARK, "spark");
    let step = width as f64 / counts.len().max(1) as f64;
    for (n, one) in counts.iter().enumerate() {
        let (good, bad) = (one.delivered(), failed(one));
        let scale = |count: u64| (count as f64 / most as f64 * height as f64).max(1.0);
        let x = n as f64 * step;
        if good > 0 {
            bar(
                &mut out,
                "good",
                (x, height as f64 - scale(good)),
                (step - 0.5, scale(good)),
            );
        }
        if bad > 0 {
            let top = (height as f64 - scale(good + bad)).max(0.0);
            bar(&mut out, "bad", (x, top), (step - 0.5, scale(bad)));
        }
    }
    out.push_str("</svg>");
    Chart(out)
}

fn begin(words: &str, (width, height): (u64, u64), class: &str) -> String {
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" \
         role=\"img\" aria-label=\"{words}\">"
    )
}

/// The line at the foot, the largest value and the time that is shown, and the end of the drawing.
fn axis(out: &mut String, steps: Steps, most: &str) {
    let minutes = steps.until_min.saturating_sub(steps.since_min);
    let from = when::rough(Duration::from_secs(u64::from(minutes) * 60));
    let _ = write!(
        out,
        "<line class=\"axis\" x1=\"0\" y1=\"{HEIGHT}\" x2=\"{WIDTH}\" y2=\"{HEIGHT}\"/></svg>\
         <p class=\"scale\"><span>{from} ago</span><span>most: {most}</span><span>now</span></p>"
    );
}

fn bar(out: &mut String, class: &str, (x, y): (f64, f64), (width, height): (f64, f64)) {
    if height > 0.0 {
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_what_was_counted() {
        let steps = Steps {
            since_min: 0,
            until_min: 60,
            step_min: 15,
        };
        let mut counts = vec![Counts::default(); 4];
        counts[1].attempt(None, 10);
        counts[3].attempt(None, 10);
        counts[3].attempt(Some(ErrorKind::Dns), 40);
        let chart = volume(steps, &counts).to_string();
        assert_eq!(chart.matches("<rect").count(), 3);
        assert!(
            chart.contains(
                "1970-01-01 00:45:00.000Z: 1 delivered, 0 answered with an error, 1 not answered"
            ),
            "{chart}"
        );
        assert!(
            latency(steps, &counts)
                .to_string()
                .contains("class=\"p95\"")
        );
        assert_eq!(sparkline(&counts).to_string().matches("<rect").count(), 3);
        assert_eq!(rows(steps, &counts).len(), 2);
        for empty in [volume(steps, &[]), latency(steps, &[]), sparkline(&[])] {
            assert!(empty.to_string().contains("</svg>"));
        }
    }
}
