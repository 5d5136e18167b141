//! A menu: the kernels that a build compiles.

use std::collections::{BTreeSet, btree_set};
use std::fmt;
use std::str::FromStr;

use tritune_codegen::{KernelId, NameError};

use crate::space::{SpaceError, compiled};

/// A set of kernels in the order of their values, so that equal menus give equal builds.
///
/// As text: one name a line; `#` starts a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Menu(BTreeSet<KernelId>);

/// A line of a menu that names no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the menu: {source}")]
pub struct MenuError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with the name.
    pub source: NameError,
}

impl Menu {
    /// What is compiled where nothing was measured: the default kernels of every instruction set, and one for every
    /// other cell of the matrix.
    ///
    /// # Errors
    /// [`SpaceError`], as [`Space::for_isa`](crate::space::Space::for_isa).
    pub fn defaults() -> Result<Menu, SpaceError> {
        Ok(compiled()?.into_iter().collect())
    }

    /// The kernels, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = KernelId> {
        self.0.iter().copied()
    }

    /// How many kernels it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `kernel` is on it.
    pub fn contains(&self, kernel: KernelId) -> bool {
        self.0.contains(&kernel)
    }
}

impl Extend<KernelId> for Menu {
    fn extend<T: IntoIterator<Item = KernelId>>(&mut self, kernels: T) {
        self.0.extend(kernels);
    }
}

impl FromIterator<KernelId> for Menu {
    fn from_iter<T: IntoIterator<Item = KernelId>>(kernels: T) -> Self {
        Menu(kernels.into_iter().collect())
    }
}

impl IntoIterator for Menu {
    type Item = KernelId;
    type IntoIter = btree_set::IntoIter<KernelId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Menu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|kernel| writeln!(f, "{kernel}"))
    }
}

impl FromStr for Menu {
    type Err = MenuError;

    fn from_str(text: &str) -> Result<Self, MenuError> {
        let names = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        names
            .enumerate()
            .filter(|(_, name)| !name.is_empty())
            .map(|(index, name)| name.parse().map_err(|source| MenuError { line: index + 1, source }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results;
    use crate::space::{Effort, Space};
    use tritune_codegen::{Isa, Op};

    #[test]
    fn menus_survive_text() {
        let mut menu = Menu::defaults().unwrap();
        menu.extend(Space::for_isa(Isa::Avx2).unwrap().kernels(Op::Gemm, Effort::Full));
        assert_eq!(menu.to_string().parse::<Menu>().unwrap(), menu);
        let reversed: String = menu.to_string().lines().rev().map(|line| format!("  {line} # why not\r\n\n")).collect();
        assert_eq!(reversed.parse::<Menu>().unwrap(), menu);
        assert!("# nothing\n".parse::<Menu>().unwrap().is_empty());
    }

    #[test]
    fn errors_name_line_and_kernel() {
        let text = "# mine\n\ngemv_t200_1x8k64u1__scalar_dot\ngemv_t200_1x8k64u3__scalar_dot\n";
        let error = text.parse::<Menu>().unwrap_err().to_string();
        assert!(error.contains("line 4") && error.contains("1x8k64u3") && error.contains("ku is"), "{error}");
    }

    #[test]
    fn winners_join_the_defaults() {
        let defaults = Menu::defaults().unwrap();
        for isa in Isa::ALL {
            assert!(defaults.iter().any(|kernel| kernel.isa == isa), "{isa}");
        }
        let mut menu = defaults.clone();
        let other: KernelId = "gemv_t200_1x32k128u4__avx512vnni_dot".parse().unwrap();
        let mut results = results::tests::example();
        results.picks[0].kernel = other;
        menu.extend(results.picked());
        assert!(menu.contains(other) && !defaults.contains(other));
        assert!(results.picked().chain(defaults.iter()).all(|kernel| menu.contains(kernel)));
        assert!(menu.len() <= defaults.len() + results.picks.len());
    }
}
