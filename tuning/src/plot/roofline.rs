use std::collections::{BTreeMap, BTreeSet};

use tritune_codegen::{KernelId, Op};

use super::scale::{Scale, label, range};
use super::sheet::{Entry, HEAD, MARGIN, Mark, Painted, Set, Sheet, Size, WIDTH, sheet};
use super::{BLACK, Family, GREY, PlotError, RED, colour, family};
use crate::case::Case;
use crate::results::Results;
use crate::text::counted;

/// Pixels of a panel, its axes' labels included.
const PANEL_HEIGHT: i32 = 400;

/// A candidate's rate in one case.
struct Point {
    /// Multiply-adds a byte of packed weights.
    intensity: f64,
    /// 10⁹ multiply-adds a second.
    rate: f64,
    family: Family,
}

impl Point {
    fn new(case: &Case, kernel: &KernelId, seconds: f64) -> Option<Point> {
        let products = case.m as f64 * case.shape.weights() as f64;
        let bytes = kernel.layout().bytes(case.shape.n, case.shape.k) as f64;
        let point = Point { intensity: products / bytes, rate: products / seconds / 1e9, family: family(kernel) };
        [point.intensity, point.rate].iter().all(|value| value.is_normal()).then_some(point)
    }

    /// 10⁹ bytes of weights a second.
    fn stream(&self) -> f64 {
        self.rate / self.intensity
    }
}

/// What was measured with one number of threads.
#[derive(Default)]
struct Panel {
    threads: usize,
    candidates: Vec<Point>,
    picked: Vec<Point>,
    /// Of those, the ones for a single token.
    streams: Vec<f64>,
    /// Reading speed of memory, 10⁹ bytes a second.
    bandwidth: Option<f64>,
}

impl Panel {
    fn all(results: &Results) -> Vec<Panel> {
        let mut panels: BTreeMap<usize, Panel> = BTreeMap::new();
        for sample in &results.samples {
            if let Some(summary) = sample.summary() {
                let panel = panels.entry(sample.case.threads).or_default();
                panel.candidates.extend(Point::new(&sample.case, &sample.kernel, summary.mean));
            }
        }
        for pick in &results.picks {
            if let Some(point) = Point::new(&pick.case, &pick.kernel, pick.seconds) {
                let panel = panels.entry(pick.case.threads).or_default();
                panel.streams.extend((pick.case.op == Op::Gemv && pick.case.m == 1).then(|| point.stream()));
                panel.picked.push(point);
            }
        }
        for (threads, panel) in &mut panels {
            panel.threads = *threads;
            let bandwidth = results.bandwidths.iter().find(|bandwidth| bandwidth.threads == *threads);
            panel.bandwidth = bandwidth.map(|bandwidth| bandwidth.gigabytes_per_second);
        }
        panels.into_values().filter(|panel| panel.points().next().is_some()).collect()
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.candidates.iter().chain(&self.picked)
    }

    fn highest(&self) -> f64 {
        self.points().map(|point| point.rate).fold(0.0, f64::max)
    }

    /// What memory allows at the panel's least intensity: the roof is to be seen above the points that are under it.
    fn roof_begin(&self) -> Option<f64> {
        let (least, _) = range(self.points().map(|point| point.intensity))?;
        Some(least * self.bandwidth?)
    }

    /// What the panel is about, beside its number of threads.
    fn facts(&self) -> String {
        let Some(bandwidth) = self.bandwidth else { return "memory roof not measured".into() };
        let reads = format!("memory reads {bandwidth:.1} GB/s");
        match range(self.streams.iter().copied()) {
            Some((low, high)) => {
                let share = |stream: f64| format!("{:.0}", 100.0 * stream / bandwidth);
                let (low, high) = (share(low), share(high));
                let shares = if low == high { low } else { format!("{low}–{high}") };
                format!("{reads}; picks for m=1: {shares} % of it")
            }
            None => reads,
        }
    }

    fn draw(&self, sheet: &Sheet, x: &Scale, y: &Scale, corner: (i32, i32), opposite: (i32, i32)) -> Painted {
        let ((left, top), (right, bottom)) = (corner, opposite);
        let heading = counted(self.threads, "thread");
        sheet.bold((left, top - 16), Set::Right, Size::Heading, &heading)?;
        sheet.text((right, top - 15), Set::Left, Size::Small, GREY, &self.facts())?;
        for tick in x.ticks() {
            let at = x.place(tick);
            sheet.guide((at, top), (at, bottom))?;
            sheet.text((at, bottom + 12), Set::Middle, Size::Small, BLACK, &label(tick))?;
        }
        for tick in y.ticks() {
            let at = y.place(tick);
            sheet.guide((left, at), (right, at))?;
            sheet.text((left - 6, at), Set::Left, Size::Small, BLACK, &label(tick))?;
        }
        sheet.frame(corner, opposite)?;
        let middle = ((left + right) / 2, bottom + 30);
        sheet.text(middle, Set::Middle, Size::Label, BLACK, "arithmetic intensity, multiply-adds a byte of weights")?;
        sheet.text((left - 44, (top + bottom) / 2), Set::Upwards, Size::Label, BLACK, "rate, GMAC/s")?;

        let mut drawn = BTreeSet::new();
        for point in &self.candidates {
            let at = (x.place(point.intensity), y.place(point.rate));
            // What falls on the same pixel would only make the file longer.
            if drawn.insert((at, point.family)) {
                sheet.dot(at, colour(point.family), 0.45)?;
            }
        }
        let highest = y.place(self.highest());
        sheet.dotted((left, highest), (right, highest), GREY)?;
        if let Some(bandwidth) = self.bandwidth {
            self.roof(sheet, x, y, bandwidth)?;
        }
        for point in &self.picked {
            let at = (x.place(point.intensity), y.place(point.rate));
            if drawn.insert((at, point.family)) || !self.candidates.is_empty() {
                sheet.picked(at, colour(point.family))?;
            }
        }
        Ok(())
    }

    /// What memory allows: `bandwidth` times the intensity, as far as the panel goes.
    fn roof(&self, sheet: &Sheet, x: &Scale, y: &Scale, bandwidth: f64) -> Painted {
        let from = x.low().max(y.low() / bandwidth);
        let to = x.high().min(y.high() / bandwidth);
        if from >= to {
            return Ok(());
        }
        sheet.line((x.place(from), y.place(from * bandwidth)), (x.place(to), y.place(to * bandwidth)), RED, 2)
    }
}

/// Rates over arithmetic intensity, a panel for each number of threads, all with the same axes: every candidate of every
/// case, the picks, the memory roof, and the highest rate that was seen, for the compute roof is not known.
///
/// # Errors
/// [`PlotError`] where the drawing library fails.
pub fn roofline(results: &Results) -> Result<String, PlotError> {
    let panels = Panel::all(results);
    let points = || panels.iter().flat_map(Panel::points);
    let rates = points().map(|point| point.rate).chain(panels.iter().filter_map(Panel::roof_begin));
    let axes = range(points().map(|point| point.intensity)).zip(range(rates));
    let Some((intensities, rates)) = axes else {
        return sheet("Roofline", results, 60, &[], |sheet| sheet.nothing("nothing was measured"));
    };
    let families: BTreeSet<Family> = points().map(|point| point.family).collect();
    let mut legend: Vec<Entry> = families
        .into_iter()
        .map(|(weights, method)| (Mark::Dot(colour((weights, method))), format!("{weights} {method}")))
        .collect();
    legend.push((Mark::Picked, "picked".into()));
    legend.push((Mark::Line(RED), "memory roof: measured read bandwidth".into()));
    legend.push((Mark::Dotted(GREY), "highest measured rate (compute roof unknown)".into()));

    let columns = panels.len().min(2) as i32;
    let rows = (panels.len() as i32 + columns - 1) / columns;
    let column = (WIDTH - 2 * MARGIN) / columns;
    sheet("Roofline", results, rows * PANEL_HEIGHT, &legend, |sheet| {
        for (panel, index) in panels.iter().zip(0..) {
            let (left, top) = (MARGIN + index % columns * column + 62, HEAD + index / columns * PANEL_HEIGHT + 34);
            let (right, bottom) = (left + column - 78, top + PANEL_HEIGHT - 84);
            let x = Scale::log(intensities.0 / 2.0, intensities.1 * 2.0, (left, right));
            let y = Scale::log(rates.0 / 1.5, rates.1 * 1.5, (bottom, top));
            panel.draw(sheet, &x, &y, (left, top), (right, bottom))?;
        }
        Ok(())
    })
}
