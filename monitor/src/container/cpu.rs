//! CPU time that a container's cgroup has used, and may use.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where cgroups are.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Mount of the hierarchy that containers are recognised in.
    mount: PathBuf,
}

/// Mounts of the version 1 controllers that count and limit CPU time.
const VERSION_1: [&str; 3] = [
    "/sys/fs/cgroup/cpu,cpuacct",
    "/sys/fs/cgroup/cpuacct",
    "/sys/fs/cgroup/cpu",
];

impl Accounts {
    /// Those of the hierarchy that is mounted here.
    #[must_use]
    pub fn new(mount: &Path) -> Self {
        Self {
            mount: mount.to_owned(),
        }
    }

    fn read(&self, cgroup: &str, file: &str) -> Option<String> {
        let below = cgroup.trim_start_matches('/');
        std::iter::once(self.mount.as_path())
            .chain(VERSION_1.iter().map(Path::new))
            .find_map(|mount| fs::read_to_string(mount.join(below).join(file)).ok())
    }

    /// Nanoseconds of CPU time that the processes of a cgroup have used since it was made; `None` when it is gone.
    #[must_use]
    pub fn used_ns(&self, cgroup: &str) -> Option<u64> {
        if let Some(statistics) = self.read(cgroup, "cpu.stat")
            && let Some(used_us) = value_of(&statistics, "usage_usec")
        {
            return used_us.checked_mul(1_000);
        }
        self.read(cgroup, "cpuacct.usage")?.trim().parse().ok()
    }

    /// How many CPUs' worth of time it may use; 0 for no limit.
    #[must_use]
    pub fn limit(&self, cgroup: &str) -> f64 {
        if let Some(limit) = self.read(cgroup, "cpu.max") {
            return limit_of(&limit).unwrap_or(0.0);
        }
        let number = |file| self.read(cgroup, file)?.trim().parse::<f64>().ok();
        match (number("cpu.cfs_quota_us"), number("cpu.cfs_period_us")) {
            (Some(quota), Some(period)) if quota > 0.0 && period > 0.0 => quota / period,
            _ => 0.0,
        }
    }
}

/// The value of a line "name value".
fn value_of(statistics: &str, name: &str) -> Option<u64> {
    statistics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

/// The quotient of "quota period", which is "max period" for no limit.
fn limit_of(limit: &str) -> Option<f64> {
    let (quota, period) = limit.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_and_limits_are_read() {
        let statistics = "usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n";
        assert_eq!(value_of(statistics, "usage_usec"), Some(1_234));
        assert_eq!(value_of(statistics, "nothing"), None);
        assert_eq!(limit_of("150000 100000\n"), Some(1.5));
        assert_eq!(limit_of("max 100000\n"), None);
    }

    #[test]
    fn a_cgroup_that_is_gone_has_used_nothing() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let accounts = Accounts::new(directory.path());
        assert_eq!(accounts.used_ns("/none-such"), None);
        assert_eq!(accounts.limit("/none-such"), 0.0);
        fs::create_dir(directory.path().join("a")).expect("made");
        fs::write(directory.path().join("a/cpu.stat"), "usage_usec 7\n").expect("written");
        assert_eq!(accounts.used_ns("/a"), Some(7_000));
    }
}
