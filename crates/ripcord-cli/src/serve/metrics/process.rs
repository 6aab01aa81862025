//! The standard `process_*` metrics, read from `/proc`. Only Linux has these metrics.

use std::fmt::Write as _;

/// Appends the metrics of the process, in Prometheus' text format. The facade's counters are integers, and CPU time is not.
pub(super) fn write(text: &mut String) {
    let Some(process) = Process::read() else { return };
    let metrics = [
        ("process_cpu_seconds_total", "counter", "CPU time used, in user and system mode.", Some(process.cpu_seconds)),
        ("process_open_fds", "gauge", "Open file descriptors.", process.open_fds),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", process.max_fds),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory.", Some(process.virtual_bytes)),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", Some(process.resident_bytes)),
        ("process_threads", "gauge", "Threads.", Some(process.threads)),
        ("process_start_time_seconds", "gauge", "Start of the process since 1970.", process.start_seconds),
    ];
    for (name, kind, help, value) in metrics {
        if let Some(value) = value {
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}")
                .expect("a string accepts all writes");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    cpu_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
    threads: f64,
    start_seconds: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
}

#[cfg(not(target_os = "linux"))]
impl Process {
    fn read() -> Option<Self> {
        None
    }
}

#[cfg(target_os = "linux")]
impl Process {
    /// Returns `None` if `/proc` is not mounted.
    fn read() -> Option<Self> {
        let text = |path| std::fs::read_to_string(path).ok();
        let (ticks, page) = (rustix::param::clock_ticks_per_second(), rustix::param::page_size());
        let process = Process::parse(&text("/proc/self/stat")?, &text("/proc/stat")?, ticks as f64, page as f64)?;
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64);
        let max = text("/proc/self/limits").as_deref().and_then(max_fds);
        Some(Process { open_fds: open, max_fds: max, ..process })
    }

    /// Parses `/proc/self/stat` and the boot time in `/proc/stat`: see proc(5).
    fn parse(stat: &str, system: &str, ticks_per_second: f64, page_size: f64) -> Option<Self> {
        // The second field is the program's name in parentheses. The name may contain spaces and parentheses.
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
        // `fields` begins with the third field.
        let number = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let boot = system
            .lines()
            .find_map(|line| line.strip_prefix("btime "))
            .and_then(|time| time.trim().parse::<f64>().ok());
        let since_boot = number(22)? / ticks_per_second;
        Some(Process {
            cpu_seconds: (number(14)? + number(15)?) / ticks_per_second,
            threads: number(20)?,
            virtual_bytes: number(23)?,
            resident_bytes: number(24)? * page_size,
            start_seconds: boot.map(|boot| boot + since_boot),
            open_fds: None,
            max_fds: None,
        })
    }
}

/// Parses the soft limit in `/proc/self/limits`. `None` if there is no limit.
#[cfg(target_os = "linux")]
fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_program_with_a_strange_name_is_parsed() {
        let stat =
            "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 7 0 5000 1048576 256 18446744073709551615 1";
        let process = Process::parse(stat, "cpu 1 2\nbtime 1700000000\n", 100.0, 4096.0);
        let expected = Process {
            cpu_seconds: 4.0,
            virtual_bytes: 1_048_576.0,
            resident_bytes: 1_048_576.0,
            threads: 7.0,
            start_seconds: Some(1_700_000_050.0),
            open_fds: None,
            max_fds: None,
        };
        assert_eq!(process, Some(expected));
        assert_eq!(Process::parse("nonsense", "", 100.0, 4096.0), None);
    }

    #[test]
    fn soft_limit_of_files_is_parsed() {
        let limits = |soft: &str| {
            format!("Limit  Soft Limit  Hard Limit  Units\nMax open files            {soft}     4096     files\n")
        };
        assert_eq!(max_fds(&limits("1024")), Some(1024.0));
        assert_eq!(max_fds(&limits("unlimited")), None);
    }

    #[test]
    fn this_process_has_plausible_figures() {
        let process = Process::read().expect("/proc is mounted");
        assert!(process.resident_bytes > 0.0 && process.virtual_bytes >= process.resident_bytes, "{process:?}");
        assert!(process.threads >= 1.0 && process.open_fds >= Some(3.0), "{process:?}");
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
        assert!(process.start_seconds.is_some_and(|start| (now - start).abs() < 86_400.0), "{process:?}");
    }
}
