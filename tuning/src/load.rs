//! Who else uses the machine: other processes, and other guests of the host.
//!
//! Linux counts what each CPU has done in `/proc/stat`, and what a process has in `/proc/PID/stat`, in equal ticks. Where
//! these are missing, nothing is claimed.

use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::Duration;

/// Above this share of the CPU time, others are worth a warning and [`Caution`](crate::stats::Caution).
pub const LOADED: f64 = 0.1;

/// Long enough for a hundred ticks on two CPUs.
const GLIMPSE: Duration = Duration::from_millis(500);

/// Longest file that is read: lines of some thousand CPUs.
const READ_LIMIT: u64 = 1 << 20;

/// What has been counted until some moment, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks {
    /// Of the CPUs that this process may use.
    all: u64,
    /// Of those, not idle; time that the host gave to others included.
    busy: u64,
    /// Of this process, and of its children that have ended.
    own: u64,
}

impl Ticks {
    /// The counts now; `None` where the system does not tell.
    pub fn now() -> Option<Ticks> {
        let read = |path| {
            let mut text = String::new();
            File::open(path).and_then(|file| file.take(READ_LIMIT).read_to_string(&mut text)).ok().map(|_| text)
        };
        Ticks::parse(&read("/proc/stat")?, &read("/proc/self/stat")?, &read("/proc/self/status")?)
    }

    fn parse(stat: &str, own: &str, status: &str) -> Option<Ticks> {
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        let allowed: Vec<(usize, usize)> = list.trim().split(',').map(range).collect::<Option<_>>()?;
        let (mut all, mut busy) = (0u64, 0u64);
        for line in stat.lines() {
            let mut fields = line.split_ascii_whitespace();
            let Some(cpu) = fields.next().and_then(|name| name.strip_prefix("cpu")?.parse::<usize>().ok()) else {
                continue;
            };
            if !allowed.iter().any(|(first, last)| (*first..=*last).contains(&cpu)) {
                continue;
            }
            // User, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen by the host; guests, which
            // follow, are within the first two.
            let counts: Vec<u64> = fields.take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
            let sum = counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count))?;
            let idle = counts.get(3)?.saturating_add(*counts.get(4).unwrap_or(&0));
            all = all.checked_add(sum)?;
            busy = busy.checked_add(sum.saturating_sub(idle))?;
        }
        // The name, in parentheses, may hold anything. After it: state, parent, …, and as the 12th to 15th field user and
        // system time, of the process and of its children.
        let fields = own.get(own.rfind(')')? + 1..)?.split_ascii_whitespace();
        let times: Vec<u64> = fields.skip(11).take(4).map(|field| field.parse().ok()).collect::<Option<_>>()?;
        let own = (times.len() == 4).then(|| times.iter().fold(0u64, |sum, time| sum.saturating_add(*time)))?;
        (all > 0).then_some(Ticks { all, busy, own })
    }

    /// The share of the CPU time since `self` that others have taken; `None` where no time has passed.
    pub fn others_until(&self, later: &Ticks) -> Option<f64> {
        let all = later.all.checked_sub(self.all).filter(|all| *all > 0)?;
        let busy = later.busy.saturating_sub(self.busy);
        let own = later.own.saturating_sub(self.own);
        Some((busy.saturating_sub(own) as f64 / all as f64).min(1.0))
    }
}

/// `3` or `0-7`.
fn range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The share of the CPU time that others take, looked at for half a second in which this process does nothing.
pub fn glimpse() -> Option<f64> {
    let before = Ticks::now()?;
    thread::sleep(GLIMPSE);
    before.others_until(&Ticks::now()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  1000 0 0 9000 0 0 0 0 0 0\ncpu0 100 10 20 800 40 1 2 3 50 0\ncpu1 0 0 0 1000 0 0 0 0 0 0\n\
                        cpu2 500 0 0 500 0 0 0 0 0 0\nintr 12 0\n";
    const OWN: &str = "42 (a) b) R 1 42 42 0 -1 4194304 100 0 0 0 7 8 9 10 20 0 1 0 5 6 7";

    fn status(cpus: &str) -> String {
        format!("Name:\ttritune\nCpus_allowed:\t3\nCpus_allowed_list:\t{cpus}\n")
    }

    #[test]
    fn ticks_are_those_of_the_cpus_that_may_be_used() {
        let ticks = |cpus: &str| Ticks::parse(STAT, OWN, &status(cpus));
        assert_eq!(ticks("0-1"), Some(Ticks { all: 1976, busy: 136, own: 34 }));
        assert_eq!(ticks("0,2"), Some(Ticks { all: 1976, busy: 636, own: 34 }));
        assert_eq!(ticks("7"), None);
        assert_eq!(ticks("x"), None);
    }

    #[test]
    fn others_are_what_is_busy_without_us() {
        let before = Ticks { all: 1000, busy: 100, own: 50 };
        let share = |all, busy, own| before.others_until(&Ticks { all, busy, own });
        assert_eq!(share(1200, 200, 120), Some(0.15));
        assert_eq!(share(1200, 200, 150), Some(0.0));
        assert_eq!(share(1200, 160, 150), Some(0.0), "ticks of a process and of a CPU are not counted at one moment");
        assert_eq!(share(1000, 100, 50), None);
        assert_eq!(share(900, 100, 50), None, "counters that went backwards tell nothing");
    }

    #[test]
    fn what_is_not_understood_claims_nothing() {
        for (stat, own, status) in [
            ("", OWN, status("0")),
            ("cpu0 1 2 x 4", OWN, status("0")),
            ("cpu0 1 2", OWN, status("0")),
            ("cpu0 0 0 0 0 0 0 0 0", OWN, status("0")),
            (&format!("cpu0 {0} {0} 0 0", u64::MAX), OWN, status("0")),
            (STAT, "", status("0")),
            (STAT, "42 (a) R 1 2", status("0")),
            (STAT, OWN, String::new()),
        ] {
            assert_eq!(Ticks::parse(stat, own, &status), None, "{stat}, {own}, {status}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_tells() {
        if let Some(share) = glimpse() {
            assert!((0.0..=1.0).contains(&share));
        }
    }
}
