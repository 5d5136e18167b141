use super::scale::{Scale, range};
use super::sheet::{Caption, Entry, HEAD, MARGIN, Mark, Painted, Set, Sheet, Size, WIDTH, sheet};
use super::{BLACK, BLUE, GREY, PALE, PURPLE, PlotError, RED};
use crate::machine::Machine;
use crate::report::speed;
use crate::text::printable;
use plotters::style::RGBColor;

/// Tokens per second of several programs on one machine.
#[derive(Clone, Debug)]
pub struct Speeds {
    /// Where it was measured.
    pub machine: Machine,
    /// When.
    pub date: String,
    /// The command line.
    pub command: String,
    /// The programs with their versions.
    pub versions: String,
    /// What there is to say besides; may be empty.
    pub remark: String,
    /// Model by model.
    pub models: Vec<ModelSpeeds>,
}

/// Speeds with one model.
#[derive(Clone, Debug)]
pub struct ModelSpeeds {
    /// Its name.
    pub name: String,
    /// What it is, in short.
    pub what: String,
    /// Prompts, in the left column.
    pub prompts: Vec<TestSpeeds>,
    /// Generations, in the right column.
    pub generations: Vec<TestSpeeds>,
}

/// Speeds in one test.
#[derive(Clone, Debug)]
pub struct TestSpeeds {
    /// Its name, with the number of threads.
    pub name: String,
    /// Tokens per second that memory allows the first of the programs.
    pub roofline: Option<f64>,
    /// Program by program.
    pub bars: Vec<Bar>,
}

/// Speeds of one program, in tokens per second.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The program; its colour is the same in the whole picture.
    pub program: String,
    /// Over the rounds.
    pub median: f64,
    /// Of the slowest round.
    pub slowest: f64,
    /// Of the fastest round.
    pub fastest: f64,
}

/// Of the programs, in the order in which they appear; those of Okabe and Ito (2008) that stand for nothing else here.
const COLOURS: [RGBColor; 5] =
    [BLUE, RGBColor(0xe6, 0x9f, 0x00), RGBColor(0x00, 0x9e, 0x73), PURPLE, RGBColor(0x56, 0xb4, 0xe9)];
/// What memory leaves room for.
const ROOM: RGBColor = RGBColor(0xf1, 0xf1, 0xf1);

/// Left and right edges of both columns.
const COLUMNS: [(i32, i32); 2] = [(MARGIN, WIDTH / 2 - 16), (WIDTH / 2 + 16, WIDTH - MARGIN)];
/// Pixels of a model's heading, and of those of the columns.
const HEADING: i32 = 50;
/// Pixels of a program's row.
const ROW: i32 = 18;
/// Pixels above the rows of a test: the roofline's number is there.
const ABOVE: i32 = 16;
/// Pixels between models.
const GAP: i32 = 16;
/// Pixels that names of tests take at most, and those that numbers at the right take.
const NAME: i32 = 190;
const NUMBERS: i32 = 92;
/// Longest names, of models and of all else.
const TITLE: usize = 48;
const LONGEST: usize = 28;

/// Tokens per second of every program in every test, a bar each, and what memory allows.
///
/// # Errors
/// [`PlotError`] where the drawing library fails.
pub fn speeds(speeds: &Speeds) -> Result<String, PlotError> {
    let Speeds { machine, date, command, versions, remark, models } = speeds;
    let caption = Caption { machine, remark, date, command, compiler: versions };
    let title = "Tokens per second";
    let tests = || models.iter().flat_map(|model| model.prompts.iter().chain(&model.generations));
    let programs = programs(tests());
    if programs.is_empty() {
        return sheet(title, caption, 60, &[], |sheet| sheet.nothing("nothing was measured"));
    }
    let mut legend: Vec<Entry> =
        programs.iter().zip(0..).map(|(name, i)| (Mark::Bar(colour(i)), printable(name, LONGEST))).collect();
    if tests().any(|test| test.roofline.is_some()) {
        legend.push((Mark::Upright(RED), "what memory allows: its bandwidth ÷ bytes that a token reads".into()));
    }
    if tests().flat_map(|test| &test.bars).any(|bar| bar.slowest < bar.fastest) {
        legend.push((Mark::Line(BLACK), "slowest to fastest round".into()));
    }
    let body = models.iter().map(height).sum();
    sheet(title, caption, body, &legend, |sheet| {
        let mut top = HEAD;
        for model in models {
            draw_model(sheet, model, &programs, top)?;
            top += height(model);
        }
        Ok(())
    })
}

/// All programs, in the order in which they first appear.
fn programs<'a>(tests: impl Iterator<Item = &'a TestSpeeds>) -> Vec<&'a str> {
    let mut programs = Vec::new();
    for bar in tests.flat_map(|test| &test.bars) {
        if !programs.contains(&bar.program.as_str()) {
            programs.push(&bar.program);
        }
    }
    programs
}

fn colour(program: usize) -> RGBColor {
    COLOURS[program % COLOURS.len()]
}

/// Pixels that a test takes.
fn extent(test: &TestSpeeds) -> i32 {
    ABOVE + ROW * test.bars.len() as i32
}

/// Pixels that a model takes.
fn height(model: &ModelSpeeds) -> i32 {
    let column = |tests: &[TestSpeeds]| tests.iter().map(extent).sum::<i32>();
    HEADING + column(&model.prompts).max(column(&model.generations)) + GAP
}

fn draw_model(sheet: &Sheet, model: &ModelSpeeds, programs: &[&str], top: i32) -> Painted {
    let name = printable(&model.name, TITLE);
    let after = MARGIN + Size::Heading.bold_width(&name) + 10;
    sheet.bold((MARGIN, top + 14), Set::Right, Size::Heading, &name)?;
    sheet.text((after, top + 14), Set::Right, Size::Label, GREY, &printable(&model.what, 60))?;
    sheet.guide((MARGIN, top + 28), (WIDTH - MARGIN, top + 28))?;
    let columns = [("prompt", &model.prompts), ("generation", &model.generations)];
    for ((head, tests), column) in columns.into_iter().zip(COLUMNS) {
        if !tests.is_empty() {
            sheet.text((column.0, top + 42), Set::Right, Size::Label, GREY, &format!("{head}, tokens/s"))?;
            draw_tests(sheet, tests, programs, column, top + HEADING)?;
        }
    }
    Ok(())
}

fn draw_tests(sheet: &Sheet, tests: &[TestSpeeds], programs: &[&str], (left, right): (i32, i32), top: i32) -> Painted {
    let names = || tests.iter().map(|test| printable(&test.name, LONGEST));
    let name = names().map(|name| Size::Label.width(&name)).max().unwrap_or(0).min(NAME);
    let values =
        tests.iter().flat_map(|test| test.bars.iter().flat_map(|bar| [bar.median, bar.fastest]).chain(test.roofline));
    let most = range(values).map_or(1.0, |(_, most)| most);
    let scale = Scale::linear(0.0, most, (left + name + 10, right - NUMBERS));
    let mut top = top;
    for test in tests {
        let (first, bottom) = (top + ABOVE, top + extent(test));
        let middle = (first + bottom) / 2;
        sheet.text((left, middle), Set::Right, Size::Label, BLACK, &printable(&test.name, LONGEST))?;
        let roof = test.roofline.filter(|roof| scale.holds(*roof));
        if let Some(roof) = roof {
            sheet.block((scale.place(0.0), first), (scale.place(roof), bottom), ROOM)?;
        }
        for (bar, row) in test.bars.iter().zip(0..) {
            let fill = programs.iter().position(|program| *program == bar.program).map_or(GREY, colour);
            draw_bar(sheet, bar, fill, &scale, first + row * ROW + ROW / 2)?;
            let share = roof.filter(|_| row == 0).map(|roof| format!("{:.0} %", 100.0 * bar.median / roof));
            let y = first + row * ROW + ROW / 2;
            sheet.text((right - 38, y), Set::Left, Size::Label, BLACK, &speed(bar.median))?;
            sheet.text((right, y), Set::Left, Size::Small, RED, &share.unwrap_or_default())?;
        }
        if let Some(roof) = roof {
            let x = scale.place(roof);
            sheet.line((x, first - 2), (x, bottom), RED, 2)?;
            sheet.text((x, first - 9), Set::Middle, Size::Small, RED, &speed(roof))?;
        }
        sheet.line((scale.place(0.0), first - 2), (scale.place(0.0), bottom), PALE, 1)?;
        top = bottom;
    }
    Ok(())
}

fn draw_bar(sheet: &Sheet, bar: &Bar, fill: RGBColor, scale: &Scale, y: i32) -> Painted {
    sheet.block((scale.place(0.0), y - 6), (scale.place(bar.median), y + 6), fill)?;
    let (from, to) = (scale.place(bar.slowest), scale.place(bar.fastest));
    if from < to {
        sheet.line((from, y), (to, y), BLACK, 1)?;
        for end in [from, to] {
            sheet.line((end, y - 3), (end, y + 3), BLACK, 1)?;
        }
    }
    Ok(())
}
