//! The energy that the machine's processors take, by Intel's and AMD's counters (RAPL), where the system lets one read them.
//!
//! Linux, Documentation/power/powercap: each zone has its energy in `energy_uj`, in µJ, which begins again from 0 after
//! `max_energy_range_uj`.

use std::fs;
use std::path::{Path, PathBuf};

/// Where Linux keeps the counters.
const FOLDER: &str = "/sys/class/powercap";

/// The counters of all packages, and of memory where it has its own.
#[derive(Debug)]
pub(super) struct Energy(Vec<Counter>);

#[derive(Debug)]
struct Counter {
    file: PathBuf,
    /// Begins again after so many µJ.
    range: u64,
}

/// The counters at one time, in µJ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading(Vec<u64>);

impl Energy {
    /// The counters of this machine; `None` where it has none, or they cannot be read.
    pub(super) fn here() -> Option<Energy> {
        Energy::at(Path::new(FOLDER))
    }

    fn at(folder: &Path) -> Option<Energy> {
        let zones = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
        let mut counters: Vec<Counter> = zones.filter(|zone| is_counted(zone)).filter_map(counter).collect();
        counters.sort_by(|a, b| a.file.cmp(&b.file));
        let energy = Energy(counters);
        (!energy.0.is_empty() && energy.read().is_some()).then_some(energy)
    }

    /// What the counters say now.
    pub(super) fn read(&self) -> Option<Reading> {
        self.0.iter().map(|counter| number(&counter.file)).collect::<Option<_>>().map(Reading)
    }

    /// Joules since an earlier reading, which no counter has gone round since.
    pub(super) fn since(&self, before: &Reading) -> Option<f64> {
        let now = self.read()?;
        let used = self.0.iter().zip(&before.0).zip(&now.0).map(|((counter, &before), &now)| {
            if now >= before { now - before } else { counter.range.saturating_sub(before).saturating_add(now) }
        });
        Some(used.map(|used| used as f64).sum::<f64>() / 1e6)
    }
}

/// Whether a zone is a package, or its memory, which no package's own counter includes; not a core's part of a package.
fn is_counted(zone: &Path) -> bool {
    let Some(rest) = zone.file_name().and_then(|name| name.to_str()?.strip_prefix("intel-rapl:")) else { return false };
    let name = fs::read_to_string(zone.join("name")).unwrap_or_default();
    match rest.split(':').count() {
        1 => name.trim().starts_with("package"),
        _ => name.trim() == "dram",
    }
}

fn counter(zone: PathBuf) -> Option<Counter> {
    let range = number(&zone.join("max_energy_range_uj"))?;
    Some(Counter { file: zone.join("energy_uj"), range })
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(folder: &Path, zone: &str, name: &str, energy: &str) {
        let zone = folder.join(zone);
        fs::create_dir_all(&zone).unwrap();
        for (file, text) in [("name", name), ("energy_uj", energy), ("max_energy_range_uj", "10000000")] {
            fs::write(zone.join(file), format!("{text}\n")).unwrap();
        }
    }

    #[test]
    fn packages_and_memory_are_added_up_and_go_round() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str, what: &str, energy: &str| zone(folder.path(), name, what, energy);
        at("intel-rapl:0", "package-0", "1000000");
        at("intel-rapl:0:0", "core", "500000");
        at("intel-rapl:0:1", "dram", "9000000");
        at("intel-rapl:1", "psys", "0");
        at("dtpm", "package-7", "0");
        let energy = Energy::at(folder.path()).unwrap();
        let before = energy.read().unwrap();
        assert_eq!(before, Reading(vec![1_000_000, 9_000_000]));
        at("intel-rapl:0", "package-0", "4000000");
        at("intel-rapl:0:1", "dram", "500000");
        assert_eq!(energy.since(&before), Some(3.0 + 1.5));
        fs::write(folder.path().join("intel-rapl:0/energy_uj"), "").unwrap();
        assert_eq!(energy.since(&before), None);
    }

    #[test]
    fn without_counters_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Energy::at(&folder.path().join("missing")).is_none());
        assert!(Energy::at(folder.path()).is_none());
        zone(folder.path(), "intel-rapl:0", "package-0", "not a number");
        assert!(Energy::at(folder.path()).is_none());
    }
}
