use std::collections::BTreeMap;

use tritune_codegen::KernelId;

use super::scale::{Scale, label, range};
use super::sheet::{HEAD, MARGIN, Mark, Painted, Set, Sheet, Size, WIDTH, sheet};
use super::{BLACK, BLUE, GREY, PURPLE, PlotError, RED};
use crate::candidate::Candidate;
use crate::case::Case;
use crate::pick::Pick;
use crate::report::microseconds;
use crate::results::{Results, Sample};

/// Pixels of a row.
const ROW: i32 = 20;
/// Pixels above and below the rows, for the scale.
const EDGE: i32 = 46;
/// Where columns of text begin or end.
const SHAPE: i32 = MARGIN;
const THREADS: i32 = 158;
const OP: i32 = 172;
const TOKENS: i32 = 248;
/// Where bars are.
const BARS: (i32, i32) = (270, 720);
const RATIO: i32 = 770;
const TIMES: i32 = WIDTH - MARGIN;
/// Ratios beyond this are drawn at the edge; their number is written beside.
const MOST: f64 = 4.0;
const LEAST: f64 = 0.25;

/// Errors of times by the default schedule, over the times.
struct Errors(BTreeMap<(Case, KernelId), f64>);

impl Errors {
    fn of(results: &Results) -> Errors {
        let error = |sample: &Sample| {
            let default_schedule = sample.candidate() == sample.kernel.into();
            let error = sample.summary()?.error;
            (error.is_finite() && default_schedule).then_some(((sample.case, sample.kernel), error))
        };
        Errors(results.samples.iter().filter_map(error).collect())
    }

    /// Standard error of a ratio, over the ratio.
    fn ratio(&self, pick: &Pick) -> Option<f64> {
        let default = self.0.get(&(pick.case, pick.default?))?;
        Some(default.hypot(pick.error?))
    }
}

/// Speed of the tuned kernel over the default's, a bar for each case.
///
/// # Errors
/// [`PlotError`] where the drawing library fails.
pub fn gains(results: &Results) -> Result<String, PlotError> {
    let title = "Tuned against default";
    if results.picks.is_empty() {
        return sheet(title, results, 60, &[], |sheet| sheet.nothing("nothing was picked"));
    }
    let errors = Errors::of(results);
    let ratios = results.picks.iter().filter_map(Pick::ratio);
    let analytic = results.picks.iter().filter_map(analytic);
    let (low, high) = range(ratios.chain(analytic.clone())).unwrap_or((1.0, 1.0));
    let scale = Scale::linear((low * 0.97).clamp(LEAST, 0.95), (high * 1.05).clamp(1.2, MOST), BARS);
    let mut legend = vec![
        (Mark::Bar(BLUE), "tuned is faster".into()),
        (Mark::Bar(RED), "tuned is slower".into()),
        (Mark::Line(BLACK), "± one standard error".into()),
    ];
    if analytic.count() > 0 {
        legend.push((Mark::Upright(PURPLE), "what the cost model would pick".into()));
    }
    let body = 2 * EDGE + ROW * results.picks.len() as i32;
    sheet(title, results, body, &legend, |sheet| {
        let (top, bottom) = (HEAD + EDGE, HEAD + body - EDGE);
        columns(sheet, top)?;
        for (pick, row) in results.picks.iter().zip(0..) {
            let y = top + row * ROW;
            // A rule where the shape changes.
            if row > 0 && results.picks[row as usize - 1].case.shape != pick.case.shape {
                sheet.guide((MARGIN, y), (WIDTH - MARGIN, y))?;
            }
        }
        for tick in scale.ticks() {
            let x = scale.place(tick);
            sheet.guide((x, top), (x, bottom))?;
            for y in [top - 10, bottom + 12] {
                sheet.text((x, y), Set::Middle, Size::Small, BLACK, &label(tick))?;
            }
        }
        sheet.line((scale.place(1.0), top), (scale.place(1.0), bottom), GREY, 1)?;
        for (pick, row) in results.picks.iter().zip(0..) {
            draw(sheet, pick, &errors, &scale, top + row * ROW + ROW / 2)?;
        }
        let middle = ((BARS.0 + BARS.1) / 2, bottom + 32);
        sheet.text(
            middle,
            Set::Middle,
            Size::Label,
            BLACK,
            "speed-up: time of the default kernel ÷ time of the tuned one",
        )
    })
}

/// Speed of what the cost model would pick over the default's.
fn analytic(pick: &Pick) -> Option<f64> {
    Some(pick.default_seconds? / pick.analytic_seconds?)
}

/// What stands in the columns of text.
fn columns(sheet: &Sheet, top: i32) -> Painted {
    let heads = [
        (SHAPE, Set::Right, "shape"),
        (THREADS, Set::Left, "threads"),
        (OP, Set::Right, "op"),
        (TOKENS, Set::Left, "m"),
        (RATIO, Set::Left, "ratio"),
        (TIMES, Set::Left, "default → tuned, µs"),
    ];
    heads.into_iter().try_for_each(|(x, set, head)| sheet.bold((x, top - 10), set, Size::Small, head))
}

fn draw(sheet: &Sheet, pick: &Pick, errors: &Errors, scale: &Scale, y: i32) -> Painted {
    let Case { shape, threads, op, m } = pick.case;
    for (x, set, text) in [
        (SHAPE, Set::Right, shape.to_string()),
        (THREADS, Set::Left, threads.to_string()),
        (OP, Set::Right, op.to_string()),
        (TOKENS, Set::Left, m.to_string()),
    ] {
        sheet.text((x, y), set, Size::Label, BLACK, &text)?;
    }
    let tuned = microseconds(pick.seconds);
    let (Some(ratio), Some(default)) = (pick.ratio(), pick.default_seconds) else {
        return sheet.text((TIMES, y), Set::Left, Size::Label, GREY, &format!("not measured → {tuned}"));
    };
    let one = scale.place(1.0);
    if pick.default.map(Candidate::from) == Some(pick.candidate()) {
        sheet.text((one + 8, y), Set::Right, Size::Small, GREY, "the default stays")?;
    } else {
        let (end, colour) = (scale.place(ratio), if ratio >= 1.0 { BLUE } else { RED });
        sheet.block((one.min(end), y - 6), (one.max(end), y + 6), colour)?;
        if let Some(error) = errors.ratio(pick) {
            let (from, to) = (scale.place(ratio * (1.0 - error)), scale.place(ratio * (1.0 + error)));
            sheet.line((from, y), (to, y), BLACK, 1)?;
            for end in [from, to] {
                sheet.line((end, y - 3), (end, y + 3), BLACK, 1)?;
            }
        }
    }
    if let Some(ratio) = analytic(pick) {
        let x = scale.place(ratio);
        sheet.line((x, y - 8), (x, y + 8), PURPLE, 2)?;
    }
    sheet.text((RATIO, y), Set::Left, Size::Label, BLACK, &format!("{ratio:.2}"))?;
    sheet.text((TIMES, y), Set::Left, Size::Label, BLACK, &format!("{} → {tuned}", microseconds(default)))
}
