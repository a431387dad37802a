//! What the machine has.

/// The least that SQL gets where nobody says how much.
const SQL_MEMORY_MIN: u64 = 256 << 20;

/// Memory for SQL where nobody says how much: a quarter of the machine's, or of what its container may use.
pub(crate) fn sql_memory_bytes() -> usize {
    let quarter = total().unwrap_or(0) / 4;
    usize::try_from(quarter.max(SQL_MEMORY_MIN)).unwrap_or(usize::MAX)
}

fn total() -> Option<u64> {
    let read = |path| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").as_deref().and_then(mem_total);
    let container = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse().ok());
    machine.into_iter().chain(container).min()
}

/// Bytes that a `/proc/meminfo` says there are.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        assert_eq!(
            mem_total("MemTotal:       24611044 kB\nMemFree: 1 kB\n"),
            Some(24_611_044 << 10)
        );
        assert_eq!(mem_total("MemTotal: many\n"), None);
        assert!(sql_memory_bytes() >= 256 << 20);
    }
}
