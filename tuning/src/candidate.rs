//! What may win a case: a kernel, and how it is run.

use std::fmt;

use serde::{Deserialize, Serialize};
use tritune_codegen::{KernelId, Schedule};

/// A kernel and its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The kernel.
    #[serde(with = "crate::name")]
    pub kernel: KernelId,
    /// How it is run.
    #[serde(default, with = "schedule", skip_serializing_if = "schedule::is_default")]
    pub schedule: Schedule,
}

/// Run by the default schedule.
impl From<KernelId> for Candidate {
    fn from(kernel: KernelId) -> Self {
        Candidate { kernel, schedule: Schedule::default() }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kernel.fmt(f)?;
        if schedule::is_default(&self.schedule) { Ok(()) } else { write!(f, " ({})", self.schedule) }
    }
}

/// How results files hold a schedule: `{ pieces = 4, ahead = 4096 }`, or not at all where it is the default.
pub(crate) mod schedule {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use tritune_codegen::{MAX_AHEAD, MAX_PIECES, Schedule};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        pieces: u16,
        ahead: u32,
    }

    pub(crate) fn is_default(schedule: &Schedule) -> bool {
        *schedule == Schedule::default()
    }

    pub(crate) fn serialize<S: Serializer>(schedule: &Schedule, serializer: S) -> Result<S::Ok, S::Error> {
        let &Schedule { pieces, ahead } = schedule;
        Fields { pieces, ahead }.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Schedule, D::Error> {
        let Fields { pieces, ahead } = Fields::deserialize(deserializer)?;
        let schedule = Schedule { pieces, ahead };
        if schedule.is_sound() {
            Ok(schedule)
        } else {
            Err(D::Error::custom(format!(
                "{schedule} is no schedule: there are 1 to {MAX_PIECES} pieces, and at most {MAX_AHEAD} bytes ahead"
            )))
        }
    }
}
