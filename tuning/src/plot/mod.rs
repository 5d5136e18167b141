//! Pictures of a results file, as SVG text: what was measured against what the machine could do ([`roofline()`]), what each
//! parameter of a kernel costs ([`parameters()`]), and what tuning gains ([`gains()`]); and of what whole models reach
//! ([`speeds()`]).
//!
//! The same results give the same bytes, so that pictures can be kept beside the file and told to be out of date.

mod gains;
mod parameters;
mod roofline;
mod scale;
mod sheet;
mod speeds;

use plotters::style::RGBColor;
use tritune_codegen::{KernelId, Method, Weights};

pub use gains::gains;
pub use parameters::parameters;
pub use roofline::roofline;
pub use speeds::{Bar, ModelSpeeds, Speeds, TestSpeeds, speeds};

use crate::results::Results;

/// A picture that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw a picture: {0}")]
pub struct PlotError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Makes a picture of results.
pub type Draw = fn(&Results) -> Result<String, PlotError>;

/// One of the pictures that are made of every results file.
#[derive(Clone, Copy, Debug)]
pub struct Picture {
    /// The file's name.
    pub file: &'static str,
    /// What it shows, for who cannot see it.
    pub alt: &'static str,
    /// Makes it.
    pub draw: Draw,
}

/// All of them.
pub const PICTURES: [Picture; 3] = [
    Picture {
        file: "roofline.svg",
        alt: "Rate of every candidate over its arithmetic intensity, under the memory roof",
        draw: roofline,
    },
    Picture {
        file: "parameters.svg",
        alt: "Time over the best of the case, for every value of every parameter of a kernel",
        draw: parameters,
    },
    Picture { file: "gains.svg", alt: "Speed of the tuned kernel over the default's, case by case", draw: gains },
];

const BLACK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GREY: RGBColor = RGBColor(0x6a, 0x6a, 0x6a);
const PALE: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const RED: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const PURPLE: RGBColor = RGBColor(0x7b, 0x3f, 0xa0);

/// A family of kernels that share a colour: the method gives the hue, the weights how light it is.
type Family = (Weights, Method);

fn family(kernel: &KernelId) -> Family {
    (kernel.weights, kernel.method)
}

/// The first row is Okabe and Ito's (2008), which the colour-blind can tell apart.
fn colour((weights, method): Family) -> RGBColor {
    let [t200, t167, t160] = match method {
        Method::Dot => [BLUE, RGBColor(0x56, 0xb4, 0xe9), RGBColor(0x3b, 0x4a, 0x78)],
        Method::Mad => [RGBColor(0x00, 0x9e, 0x73), RGBColor(0x8c, 0xcf, 0x5a), RGBColor(0x4d, 0x6b, 0x3c)],
        Method::Lut => [RED, RGBColor(0xe6, 0x9f, 0x00), RGBColor(0x8c, 0x5a, 0x2b)],
        Method::Tile => [PURPLE, RGBColor(0xcc, 0x79, 0xa7), RGBColor(0x5a, 0x3a, 0x52)],
    };
    match weights {
        Weights::T200 => t200,
        Weights::T167 => t167,
        Weights::T160 => t160,
    }
}

#[cfg(test)]
mod tests;
