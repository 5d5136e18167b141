//! The two layouts that go by the name of I2_S.

use std::fmt;
use std::str::FromStr;

use super::Kind;

/// How a tensor of I2_S lies in a file: which programs wrote it differs, and nothing in the file says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum I2sLayout {
    /// Blocks of 128 elements: what bitnet.cpp writes on x86, and every published model has.
    #[default]
    X86,
    /// Blocks of 64 elements: what some builds of bitnet.cpp for Arm wrote.
    Arm64,
}

impl I2sLayout {
    /// Both, with their names.
    pub const NAMES: [(I2sLayout, &str); 2] = [(I2sLayout::X86, "x86"), (I2sLayout::Arm64, "arm64")];

    /// The type of tensors that lie so.
    pub fn kind(self) -> Kind {
        match self {
            I2sLayout::X86 => Kind::I2_S,
            I2sLayout::Arm64 => Kind::I2_S_ARM64,
        }
    }

    /// The other one.
    pub fn other(self) -> I2sLayout {
        match self {
            I2sLayout::X86 => I2sLayout::Arm64,
            I2sLayout::Arm64 => I2sLayout::X86,
        }
    }
}

impl fmt::Display for I2sLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            I2sLayout::X86 => "x86",
            I2sLayout::Arm64 => "arm64",
        })
    }
}

impl FromStr for I2sLayout {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::NAMES.into_iter().find(|(_, known)| *known == name);
        found.map(|(layout, _)| layout).ok_or_else(|| "layouts are x86 and arm64".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (layout, name) in I2sLayout::NAMES {
            assert_eq!((layout.to_string().as_str(), name.parse()), (name, Ok(layout)));
            assert_eq!(layout.other().other(), layout);
            assert_eq!(layout.kind().id(), Kind::I2_S.id());
        }
        assert!("arm".parse::<I2sLayout>().is_err());
    }
}
