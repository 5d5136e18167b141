//! White paper with a title, small print and a legend: what all pictures have in common.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, FontTransform};

use super::{BLACK, GREY, PALE, PlotError};
use crate::machine::Machine;
use crate::results::Results;
use crate::text::{counted, printable};

/// Pixels from side to side: what a page shows without scaling.
pub(super) const WIDTH: i32 = 960;
/// Pixels left free at the sides.
pub(super) const MARGIN: i32 = 20;
/// Pixels that the title takes.
pub(super) const HEAD: i32 = 62;
/// Pixels that the small print takes.
const FOOT: i32 = 30;
/// Characters that it has room for.
const FOOT_LENGTH: usize = 150;
/// Pixels of a row of the legend.
const LEGEND_ROW: i32 = 20;
/// Pixels between a mark of the legend and its words.
const LEGEND_MARK: i32 = 30;

/// `plotters` divides sizes by this on their way into SVG.
const PLOTTERS_SIZE: f64 = 1.24;

pub(super) type Painted = Result<(), PlotError>;

/// Text sizes, in pixels.
#[derive(Clone, Copy)]
pub(super) enum Size {
    Title = 18,
    Heading = 14,
    Label = 12,
    Small = 11,
}

impl Size {
    /// About how wide a text is: fonts differ, this is on the wide side.
    pub(super) fn width(self, text: &str) -> i32 {
        (text.chars().count() as f64 * f64::from(self as u8) * 0.58).ceil() as i32
    }

    /// The same, in bold.
    pub(super) fn bold_width(self, text: &str) -> i32 {
        self.width(text) * 4 / 3
    }
}

/// Where a text lies of the point it is set at.
#[derive(Clone, Copy)]
pub(super) enum Set {
    /// To its right.
    Right,
    /// To its left.
    Left,
    /// Around it.
    Middle,
    /// Around it, reading upwards.
    Upwards,
}

/// What a row of the legend begins with.
#[derive(Clone, Copy)]
pub(super) enum Mark {
    Dot(RGBColor),
    Hollow(RGBColor),
    Picked,
    Line(RGBColor),
    Dotted(RGBColor),
    Bar(RGBColor),
    Median,
    Diamond,
    Upright(RGBColor),
}

/// An entry of the legend.
pub(super) type Entry = (Mark, String);

/// Where and how was measured what a picture shows.
pub(super) struct Caption<'a> {
    pub(super) machine: &'a Machine,
    /// What there is to say besides.
    pub(super) remark: &'a str,
    pub(super) date: &'a str,
    pub(super) command: &'a str,
    pub(super) compiler: &'a str,
}

impl<'a> From<&'a Results> for Caption<'a> {
    fn from(results: &'a Results) -> Self {
        let Results { machine, date, command, compiler, complete, .. } = results;
        Caption { machine, remark: if *complete { "" } else { "incomplete search" }, date, command, compiler }
    }
}

/// A picture that is being drawn. All coordinates are pixels from its upper left corner.
pub(super) struct Sheet<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    /// Pixels from top to bottom.
    height: i32,
}

/// Draws a picture with `body` pixels between its title and its legend, painted by `paint`, which begins at
/// [`HEAD`].
pub(super) fn sheet<'a>(
    title: &str,
    caption: impl Into<Caption<'a>>,
    body: i32,
    legend: &[Entry],
    paint: impl FnOnce(&Sheet) -> Painted,
) -> Result<String, PlotError> {
    let rows = 1 + places(legend).last().map_or(-1, |(row, _)| *row);
    let height = HEAD + body + 10 + rows * LEGEND_ROW + FOOT;
    let caption = caption.into();
    let mut text = String::new();
    {
        let backend = SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32));
        let sheet = Sheet { area: backend.into_drawing_area(), height };
        sheet.area.fill(&WHITE).map_err(failed)?;
        sheet.head(title, &caption)?;
        paint(&sheet)?;
        sheet.legend(HEAD + body + 10, legend)?;
        sheet.foot(&caption)?;
        sheet.area.present().map_err(failed)?;
    }
    Ok(text)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> PlotError {
    PlotError(Box::new(error))
}

/// Row and left edge of each entry of a legend.
fn places(legend: &[Entry]) -> Vec<(i32, i32)> {
    let (mut row, mut left) = (0, MARGIN);
    let place = |(_, words): &Entry| {
        let width = LEGEND_MARK + Size::Label.width(words) + 16;
        if left > MARGIN && left + width > WIDTH {
            (row, left) = (row + 1, MARGIN);
        }
        let place = (row, left);
        left += width;
        place
    };
    legend.iter().map(place).collect()
}

impl Sheet<'_> {
    fn head(&self, title: &str, caption: &Caption<'_>) -> Painted {
        let Machine { id, model, cores, virtualised, .. } = caption.machine;
        let title = format!("{title}: {}", printable(model, 60));
        self.bold((MARGIN, 24), Set::Right, Size::Title, &title)?;
        let mut words = vec![id.clone(), counted(*cores, "core")];
        words.extend(virtualised.and_then(|is| is.then(|| "virtual machine".into())));
        if !caption.remark.is_empty() {
            words.push(printable(caption.remark, 100));
        }
        self.text((MARGIN, 46), Set::Right, Size::Label, GREY, &words.join(" · "))
    }

    fn foot(&self, caption: &Caption<'_>) -> Painted {
        let Caption { date, command, compiler, .. } = caption;
        let text = format!("{} · {}", printable(date, 30), printable(command, 80));
        let rest = printable(compiler, FOOT_LENGTH.saturating_sub(text.chars().count()));
        let text = format!("{text} · {rest}");
        self.text((MARGIN, self.height - 16), Set::Right, Size::Small, GREY, &text)
    }

    fn legend(&self, top: i32, legend: &[Entry]) -> Painted {
        for ((mark, words), (row, left)) in legend.iter().zip(places(legend)) {
            let (x, y) = (left + 12, top + row * LEGEND_ROW + LEGEND_ROW / 2);
            match *mark {
                Mark::Dot(colour) => self.dot((x, y), colour, 1.0)?,
                Mark::Hollow(colour) => self.ring((x, y), 3, colour, 1)?,
                Mark::Picked => self.picked((x, y), GREY)?,
                Mark::Line(colour) => self.line((x - 12, y), (x + 12, y), colour, 2)?,
                Mark::Dotted(colour) => self.dotted((x - 12, y), (x + 12, y), colour)?,
                Mark::Bar(colour) => self.block((x - 10, y - 5), (x + 10, y + 5), colour)?,
                Mark::Median => self.line((x - 10, y), (x + 10, y), BLACK, 3)?,
                Mark::Diamond => self.diamond((x, y))?,
                Mark::Upright(colour) => self.line((x, y - 8), (x, y + 8), colour, 2)?,
            }
            self.text((left + LEGEND_MARK, y), Set::Right, Size::Label, BLACK, words)?;
        }
        Ok(())
    }

    pub(super) fn text(&self, at: (i32, i32), set: Set, size: Size, colour: RGBColor, text: &str) -> Painted {
        self.write(at, set, size, FontStyle::Normal, colour, text)
    }

    pub(super) fn bold(&self, at: (i32, i32), set: Set, size: Size, text: &str) -> Painted {
        self.write(at, set, size, FontStyle::Bold, BLACK, text)
    }

    fn write(&self, at: (i32, i32), set: Set, size: Size, style: FontStyle, colour: RGBColor, text: &str) -> Painted {
        let (side, turn) = match set {
            Set::Right => (HPos::Left, FontTransform::None),
            Set::Left => (HPos::Right, FontTransform::None),
            Set::Middle => (HPos::Center, FontTransform::None),
            Set::Upwards => (HPos::Center, FontTransform::Rotate270),
        };
        let font = ("sans-serif", f64::from(size as u8) * PLOTTERS_SIZE).into_font().style(style).transform(turn);
        let style = TextStyle::from(font).color(&colour).pos(Pos::new(side, VPos::Center));
        self.area.draw(&Text::new(text, at, style)).map_err(failed)
    }

    pub(super) fn line(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor, width: u32) -> Painted {
        self.area.draw(&PathElement::new([from, to], colour.stroke_width(width))).map_err(failed)
    }

    /// A horizontal or slanted line, left to right.
    pub(super) fn dotted(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Painted {
        const PERIOD: i32 = 7;
        let (width, height) = (to.0 - from.0, to.1 - from.1);
        for start in (0..width).step_by(PERIOD as usize) {
            let at = |x: i32| (from.0 + x.min(width), from.1 + x.min(width) * height / width);
            self.line(at(start), at(start + 4), colour, 2)?;
        }
        Ok(())
    }

    pub(super) fn block(&self, corner: (i32, i32), opposite: (i32, i32), colour: RGBColor) -> Painted {
        self.area.draw(&Rectangle::new([corner, opposite], colour.filled())).map_err(failed)
    }

    pub(super) fn dot(&self, at: (i32, i32), colour: RGBColor, opacity: f64) -> Painted {
        self.area.draw(&Circle::new(at, 3, colour.mix(opacity).filled())).map_err(failed)
    }

    /// One of many dots.
    pub(super) fn speck(&self, at: (i32, i32), colour: RGBColor) -> Painted {
        self.area.draw(&Circle::new(at, 2, colour.mix(0.6).filled())).map_err(failed)
    }

    pub(super) fn ring(&self, at: (i32, i32), radius: i32, colour: RGBColor, width: u32) -> Painted {
        self.area.draw(&Circle::new(at, radius, colour.stroke_width(width))).map_err(failed)
    }

    /// A candidate that was picked.
    pub(super) fn picked(&self, at: (i32, i32), colour: RGBColor) -> Painted {
        self.area.draw(&Circle::new(at, 4, colour.filled())).map_err(failed)?;
        self.ring(at, 5, BLACK, 2)
    }

    pub(super) fn diamond(&self, (x, y): (i32, i32)) -> Painted {
        let corners = |r: i32| [(x - r, y), (x, y - r), (x + r, y), (x, y + r)];
        self.area.draw(&Polygon::new(corners(7), WHITE)).map_err(failed)?;
        self.area.draw(&Polygon::new(corners(5), BLACK)).map_err(failed)
    }

    /// The left and lower edges of a panel between two corners.
    pub(super) fn frame(&self, (left, top): (i32, i32), (right, bottom): (i32, i32)) -> Painted {
        self.line((left, top), (left, bottom), GREY, 1)?;
        self.line((left, bottom), (right, bottom), GREY, 1)
    }

    /// A pale line that leads the eye.
    pub(super) fn guide(&self, from: (i32, i32), to: (i32, i32)) -> Painted {
        self.line(from, to, PALE, 1)
    }

    /// A sentence where there is nothing to show.
    pub(super) fn nothing(&self, why: &str) -> Painted {
        self.text((WIDTH / 2, HEAD + 30), Set::Middle, Size::Heading, GREY, why)
    }
}
