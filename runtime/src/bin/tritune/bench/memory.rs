//! What this process has taken of the machine's memory.

/// The most that it has held at any time, in bytes, mapped files included, where the system says so (Linux).
pub(super) fn peak() -> Option<u64> {
    high_water(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_found() {
        assert_eq!(high_water("Name:\ttritune\nVmHWM:\t    5120 kB\nVmRSS:\t  4096 kB\n"), Some(5120 << 10));
        assert_eq!(high_water("VmRSS:\t  4096 kB\n"), None);
        assert_eq!(high_water("VmHWM:\t99999999999999999999 kB\n"), None);
        assert!(!cfg!(target_os = "linux") || peak() > Some(1 << 20));
    }
}
