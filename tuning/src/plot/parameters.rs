use std::collections::{BTreeMap, BTreeSet};

use tritune_codegen::{Op, Schedule};

use super::scale::{Scale, label};
use super::sheet::{HEAD, MARGIN, Mark, Painted, Set, Sheet, Size, WIDTH, sheet};
use super::{BLACK, BLUE, GREY, PlotError};
use crate::candidate::Candidate;
use crate::case::Case;
use crate::results::{Results, Sample};
use crate::stats::median;
use crate::text::counted;

/// Panels side by side, at most.
const COLUMNS: i32 = 5;
/// Panels are no wider than if there were as many side by side.
const WIDEST: i32 = 4;
/// Pixels of a panel, its labels included.
const PANEL_HEIGHT: i32 = 250;
/// Pixels of the line above the panels of an op.
const HEADING: i32 = 30;
/// Pixels of the scale at the left of a row of panels.
const SCALE: i32 = 46;
/// Pixels from dot to dot in a crowd.
const DOT: i32 = 5;
/// Times beyond this multiple of the best are drawn at the upper edge.
const MOST: f64 = 4.0;

/// A value of a parameter: its place among the others, and its name.
type Value = (usize, String);

/// Something that candidates differ in.
struct Parameter {
    name: &'static str,
    meaning: &'static str,
    value: fn(&Candidate) -> Value,
    rivals: Rivals,
}

/// Whom a candidate is held against, all in its case.
enum Rivals {
    /// Every kernel, by the default schedule.
    Kernels,
    /// The same kernel by the schedules that are equal once this has been done to them.
    Schedules(fn(Schedule) -> Schedule),
}

#[rustfmt::skip]
const PARAMETERS: [Parameter; 9] = [
    kernel("mr", "tokens a tile", |of| number(of.kernel.tile.mr)),
    kernel("nr", "rows a tile", |of| number(of.kernel.tile.nr)),
    kernel("kb", "columns a turn", |of| number(of.kernel.tile.kb)),
    kernel("ku", "accumulators", |of| number(of.kernel.tile.ku)),
    kernel("weights", "bits × 100", |of| (of.kernel.weights as usize, of.kernel.weights.to_string())),
    kernel("method", "of products", |of| (of.kernel.method as usize, of.kernel.method.to_string())),
    kernel("isa", "instruction set", |of| (of.kernel.isa as usize, of.kernel.isa.to_string())),
    schedule("ahead", "bytes; same kernel", |of| number(of.schedule.ahead), |one| Schedule { ahead: 0, ..one }),
    schedule("pieces", "a thread; same kernel", |of| number(of.schedule.pieces), |one| Schedule { pieces: 0, ..one }),
];

const fn kernel(name: &'static str, meaning: &'static str, value: fn(&Candidate) -> Value) -> Parameter {
    Parameter { name, meaning, value, rivals: Rivals::Kernels }
}

const fn schedule(
    name: &'static str,
    meaning: &'static str,
    value: fn(&Candidate) -> Value,
    without: fn(Schedule) -> Schedule,
) -> Parameter {
    Parameter { name, meaning, value, rivals: Rivals::Schedules(without) }
}

fn number(value: impl Into<u32>) -> Value {
    let value: u32 = value.into();
    (value as usize, value.to_string())
}

/// A candidate in a case.
struct Rated {
    case: Case,
    candidate: Candidate,
    /// Time over the best of its rivals.
    ratio: f64,
}

/// How long a candidate took.
struct Time {
    eliminated: bool,
    seconds: f64,
    candidate: Candidate,
}

impl Rivals {
    /// The candidates of `samples` that have rivals, held against them. The best is the one that regret is counted from:
    /// the fastest of those that were not eliminated.
    fn rate(&self, samples: &[&Sample]) -> Vec<Rated> {
        let mut fields: BTreeMap<(Case, Option<Candidate>), Vec<Time>> = BTreeMap::new();
        for sample in samples {
            let candidate = sample.candidate();
            let field = match self {
                Rivals::Kernels if candidate != candidate.kernel.into() => continue,
                Rivals::Kernels => None,
                Rivals::Schedules(without) => Some(Candidate { schedule: without(candidate.schedule), ..candidate }),
            };
            if let Some(summary) = sample.summary() {
                let time = Time { eliminated: sample.eliminated.is_some(), seconds: summary.mean, candidate };
                fields.entry((sample.case, field)).or_default().push(time);
            }
        }
        let mut rated = Vec::new();
        for ((case, field), times) in fields {
            let order = |a: &&Time, b: &&Time| a.eliminated.cmp(&b.eliminated).then(a.seconds.total_cmp(&b.seconds));
            // A schedule that was never varied says nothing.
            let best = times.iter().min_by(order).filter(|_| field.is_none() || times.len() > 1);
            let Some(best) = best else { continue };
            rated.extend(times.iter().filter_map(|&Time { seconds, candidate, .. }| {
                let ratio = seconds / best.seconds;
                ratio.is_normal().then_some(Rated { case, candidate, ratio })
            }));
        }
        rated
    }
}

/// The candidates of one op, and the parameters that they differ in.
struct Section {
    op: Op,
    /// What was measured, and what is the same in all of it.
    facts: String,
    panels: Vec<Panel>,
}

impl Section {
    fn new(op: Op, results: &Results) -> Option<Self> {
        let samples: Vec<&Sample> = results.samples.iter().filter(|sample| sample.case.op == op).collect();
        let kernels = Rivals::Kernels.rate(&samples);
        if kernels.is_empty() {
            return None;
        }
        let cases: BTreeSet<Case> = kernels.iter().map(|rated| rated.case).collect();
        let mut facts = format!("{} in {}", counted(kernels.len(), "sample"), counted(cases.len(), "case"));
        let (mut panels, mut constant) = (Vec::new(), Vec::new());
        for parameter in &PARAMETERS {
            // A gemv kernel is for its number of tokens alone: within a case, mr does not vary.
            if parameter.name == "mr" && op == Op::Gemv {
                continue;
            }
            let panel = match &parameter.rivals {
                Rivals::Kernels => Panel::new(parameter, &kernels),
                schedules => Panel::new(parameter, &schedules.rate(&samples)),
            };
            match &panel.crowds[..] {
                [] => (),
                [only] => constant.push(format!("{} {}", parameter.name, only.name)),
                _ => panels.push(panel),
            }
        }
        if !constant.is_empty() {
            facts += &format!("; throughout {}", constant.join(", "));
        }
        Some(Section { op, facts, panels })
    }

    /// The slowest candidate's ratio.
    fn slowest(&self) -> f64 {
        let ratios = self.panels.iter().flat_map(|panel| &panel.crowds).flat_map(|crowd| &crowd.ratios);
        ratios.copied().fold(1.0, f64::max)
    }

    fn rows(&self) -> i32 {
        (self.panels.len() as i32 + COLUMNS - 1) / COLUMNS
    }

    /// Panels side by side, so that rows are about equally full.
    fn columns(&self) -> i32 {
        let rows = self.rows().max(1);
        (self.panels.len() as i32 + rows - 1) / rows
    }

    fn height(&self) -> i32 {
        HEADING + self.rows() * PANEL_HEIGHT
    }

    fn draw(&self, sheet: &Sheet, top: i32, most: f64) -> Painted {
        let op = self.op.to_string();
        sheet.bold((MARGIN, top + 12), Set::Right, Size::Heading, &op)?;
        let after = MARGIN + Size::Heading.bold_width(&op) + 12;
        sheet.text((after, top + 13), Set::Right, Size::Label, GREY, &self.facts)?;
        let columns = self.columns();
        let width = (WIDTH - 2 * MARGIN - SCALE) / columns.max(WIDEST);
        for (panel, index) in self.panels.iter().zip(0..) {
            let (column, row) = (index % columns, index / columns);
            let upper = top + HEADING + row * PANEL_HEIGHT + 26;
            let lower = upper + PANEL_HEIGHT - 72;
            let left = MARGIN + SCALE + column * width;
            let y = Scale::log(0.96, most, (lower, upper));
            if column == 0 {
                for tick in y.ticks() {
                    sheet.text((left - 6, y.place(tick)), Set::Left, Size::Small, BLACK, &label(tick))?;
                }
                let middle = (MARGIN, (upper + lower) / 2);
                sheet.text(middle, Set::Upwards, Size::Label, BLACK, "time ÷ best of its case")?;
            }
            panel.draw(sheet, &y, (left, upper), (left + width - 18, lower))?;
        }
        Ok(())
    }
}

/// The candidates with one value of a parameter.
struct Crowd {
    name: String,
    /// Their ratios, ascending.
    ratios: Vec<f64>,
    median: f64,
    /// Median over cases of the best of them.
    best: f64,
}

/// A parameter, and those with each of its values.
struct Panel {
    heading: &'static str,
    meaning: &'static str,
    crowds: Vec<Crowd>,
}

impl Panel {
    fn new(parameter: &Parameter, rated: &[Rated]) -> Panel {
        let mut crowds: BTreeMap<Value, (Vec<f64>, BTreeMap<Case, f64>)> = BTreeMap::new();
        for Rated { case, candidate, ratio } in rated {
            let (ratios, best) = crowds.entry((parameter.value)(candidate)).or_default();
            ratios.push(*ratio);
            let best = best.entry(*case).or_insert(*ratio);
            *best = best.min(*ratio);
        }
        let crowd = |((_, name), (mut ratios, best)): (Value, (Vec<f64>, BTreeMap<Case, f64>))| {
            ratios.sort_by(f64::total_cmp);
            let best: Vec<f64> = best.into_values().collect();
            Some(Crowd { name, best: median(&best)?, median: median(&ratios)?, ratios })
        };
        let crowds = crowds.into_iter().filter_map(crowd).collect();
        Panel { heading: parameter.name, meaning: parameter.meaning, crowds }
    }

    fn draw(&self, sheet: &Sheet, y: &Scale, corner: (i32, i32), opposite: (i32, i32)) -> Painted {
        let ((left, top), (right, bottom)) = (corner, opposite);
        sheet.bold((left, top - 17), Set::Right, Size::Label, self.heading)?;
        let after = left + Size::Label.bold_width(self.heading) + 8;
        sheet.text((after, top - 17), Set::Right, Size::Small, GREY, self.meaning)?;
        for tick in y.ticks() {
            sheet.guide((left, y.place(tick)), (right, y.place(tick)))?;
        }
        sheet.frame(corner, opposite)?;
        let column = (right - left) / self.crowds.len() as i32;
        let widest = self.crowds.iter().map(|crowd| Size::Small.width(&crowd.name)).max().unwrap_or(0);
        for (crowd, index) in self.crowds.iter().zip(0..) {
            let middle = left + column * index + column / 2;
            // Names that would run into each other stand on two lines by turns.
            let line = if widest > column { index % 2 } else { 0 };
            sheet.text((middle, bottom + 12 + 13 * line), Set::Middle, Size::Small, BLACK, &crowd.name)?;
            crowd.draw(sheet, y, middle, column)?;
        }
        Ok(())
    }
}

impl Crowd {
    /// Dots at the height of their ratio; those of about the same height lie side by side.
    fn draw(&self, sheet: &Sheet, y: &Scale, middle: i32, column: i32) -> Painted {
        let most = ((column - DOT) / DOT).max(1);
        let mut heights: BTreeMap<i32, i32> = BTreeMap::new();
        for ratio in &self.ratios {
            *heights.entry(y.place(*ratio) / DOT * DOT).or_default() += 1;
        }
        let beyond = self.ratios.iter().any(|ratio| *ratio > y.high()).then(|| y.place(f64::MAX) / DOT * DOT);
        for (height, count) in heights {
            // More than fit say no more than that there are many.
            let count = count.min(most);
            for place in 0..count {
                let at = (middle + (2 * place - (count - 1)) * DOT / 2, height);
                if Some(height) == beyond {
                    sheet.ring(at, 2, BLUE, 1)?;
                } else {
                    sheet.speck(at, BLUE)?;
                }
            }
        }
        let half = (column / 2 - 3).clamp(4, 16);
        let centre = y.place(self.median);
        sheet.line((middle - half, centre), (middle + half, centre), BLACK, 3)?;
        sheet.diamond((middle, y.place(self.best)))
    }
}

/// Time over the best of its case, for every value of every parameter of kernels that varies, and time over the best of
/// its kernel in its case for those of schedules: panels for gemv, then for gemm.
///
/// # Errors
/// [`PlotError`] where the drawing library fails.
pub fn parameters(results: &Results) -> Result<String, PlotError> {
    let title = "Time per parameter";
    let sections: Vec<Section> = [Op::Gemv, Op::Gemm].into_iter().filter_map(|op| Section::new(op, results)).collect();
    if sections.is_empty() {
        return sheet(title, results, 60, &[], |sheet| sheet.nothing("nothing was measured"));
    }
    let slowest = sections.iter().map(Section::slowest).fold(1.0, f64::max);
    let most = (slowest * 1.05).clamp(1.2, MOST);
    let mut legend = vec![
        (Mark::Dot(BLUE), "a candidate in a case".into()),
        (Mark::Median, "their median".into()),
        (Mark::Diamond, "the best with this value, median over cases".into()),
    ];
    if slowest > most {
        legend.push((Mark::Hollow(BLUE), format!("more than {MOST} times")));
    }
    sheet(title, results, sections.iter().map(Section::height).sum(), &legend, |sheet| {
        let mut top = HEAD;
        for section in &sections {
            section.draw(sheet, top, most)?;
            top += section.height();
        }
        Ok(())
    })
}
