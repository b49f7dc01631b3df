//! How much memory the process may use: the machine's, or less where a control group limits it.

use super::options::MEMORY_BYTES_ASSUMED;

/// The least of the machine's memory and the limits of the control groups around the process.
pub(super) fn usable_bytes() -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| total(&text));
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().flat_map(group_files).filter_map(|path| limit(&read(&path)?));
    limits.chain(machine).min().unwrap_or(MEMORY_BYTES_ASSUMED)
}

/// `MemTotal` of /proc/meminfo.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The limit in a control group's file; `max` is none.
fn limit(content: &str) -> Option<u64> {
    content.trim().parse().ok().filter(|bytes| *bytes > 0)
}

/// The files that may limit the group of one line of /proc/self/cgroup, from it up to the root. A
/// container often sees its own group as the root.
fn group_files(line: &str) -> Vec<String> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (root, file) = match controllers {
        "" => ("/sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let ancestors = std::path::Path::new(group).ancestors();
    ancestors
        .map(|group| format!("{root}{}/{file}", group.display().to_string().trim_end_matches('/')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_s_memory_is_read_from_meminfo() {
        assert_eq!(total("MemTotal:        8000 kB\nMemFree: 1 kB\n"), Some(8_192_000));
        assert_eq!(total("nothing"), None);
    }

    #[test]
    fn a_group_and_its_ancestors_may_limit_the_memory() {
        assert_eq!(
            group_files("0::/a/b"),
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(group_files("5:memory,cpu:/"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        assert!(group_files("4:pids:/a").is_empty());
        assert_eq!(limit("max\n"), None);
        assert_eq!(limit("1048576\n"), Some(1_048_576));
    }
}
