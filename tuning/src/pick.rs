//! Which kernel a shape is served by, and the one layout that all of its kernels read.

use serde::{Deserialize, Serialize};
use tritune_codegen::KernelId;

use crate::case::Case;

/// The kernel for a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pick {
    /// The situation.
    #[serde(flatten)]
    pub case: Case,
    /// The kernel.
    #[serde(with = "crate::name")]
    pub kernel: KernelId,
    /// Trimmed mean of its passes.
    pub seconds: f64,
    /// Standard error of `seconds`, over `seconds`.
    pub error: f64,
    /// `seconds` over the time of the fastest kernel in any layout: what sharing packed weights costs here.
    pub regret: f64,
    /// What would run had nothing been measured.
    #[serde(default, with = "crate::name::option", skip_serializing_if = "Option::is_none")]
    pub default: Option<KernelId>,
    /// Trimmed mean of the default's passes, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_seconds: Option<f64>,
}

impl Pick {
    /// Time of the default over that of the pick: above 1 where tuning paid.
    pub fn ratio(&self) -> Option<f64> {
        self.default_seconds.map(|default| default / self.seconds)
    }
}
