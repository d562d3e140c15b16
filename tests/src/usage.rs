//! What a process has used of the machine, as `/proc` tells (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::sys;

/// Length of the kernel's clock tick in `/proc/PID/stat`: `USER_HZ` is 100 on every Linux that this runs on.
const TICK: Duration = Duration::from_millis(10);

/// A thread and what it has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadUsage {
    /// Its name; threads of one pool share it.
    pub name: String,
    /// Processor time in user mode and in the kernel, to 10 ms.
    pub cpu: Duration,
}

/// Processor time of a process, all threads together, to 10 ms.
pub fn cpu_time(process: u32) -> Result<Duration> {
    read(&format!("/proc/{process}/stat")).map(|usage| usage.cpu)
}

/// Processor time of a process, all threads together, to the nanosecond. Work that the kernel did in its context, such as the
/// receiving half of a veth cable that it sent on, counts where it ran.
pub fn cpu_time_exact(process: u32) -> Result<Duration> {
    sys::process_cpu_time(process).with_context(|| format!("processor time of process {process}"))
}

/// Kernel threads whose name begins with one of `names`, such as `ksoftirqd/`.
pub fn kernel_threads(names: &[&str]) -> Result<Vec<u32>> {
    let processes = fs::read_dir("/proc").context("/proc")?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let wanted = |process: &u32| {
        let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
        names.iter().any(|wanted| name.starts_with(wanted))
    };
    Ok(numbers.filter(wanted).collect())
}

/// Every thread of a process that has used any processor time yet.
pub fn threads(process: u32) -> Result<Vec<ThreadUsage>> {
    let folder = format!("/proc/{process}/task");
    let tasks = fs::read_dir(&folder).with_context(|| folder.clone())?;
    let usages = tasks.flatten().filter_map(|task| read(&format!("{}/stat", task.path().display())).ok());
    Ok(usages.filter(|usage| !usage.cpu.is_zero()).collect())
}

/// Most memory that a process has had resident since its start (`VmHWM`), in bytes, and the huge pages that it has now.
pub fn memory_max_bytes(process: u32) -> Result<u64> {
    memory(process, "VmHWM:")
}

/// Memory that a process has resident now (`VmRSS`), huge pages included, in bytes.
pub fn memory_bytes(process: u32) -> Result<u64> {
    memory(process, "VmRSS:")
}

/// A line of `/proc/PID/status`, and that of reserved huge pages (`MAP_HUGETLB`), which no other counts.
fn memory(process: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let resident = bytes(&text, name).with_context(|| format!("{path}: no {name}"))?;
    // A kernel without them has no such line.
    Ok(resident + bytes(&text, "HugetlbPages:").unwrap_or(0))
}

fn bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

fn read(path: &str) -> Result<ThreadUsage> {
    let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
    parse(&text).with_context(|| format!("{path}: {text}"))
}

/// The fields `comm`, `utime` and `stime` of a stat line.
fn parse(text: &str) -> Option<ThreadUsage> {
    // A name may hold blanks and brackets; only its end is sure.
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut times = rest.split_whitespace().skip(11).map(|field| field.parse::<u32>().ok());
    let ticks = times.next()?? + times.next()??;
    Some(ThreadUsage { name, cpu: TICK * ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_past_any_name() {
        let text = "42 (a (b) c) S 1 42 42 0 -1 4194560 10 0 0 0 120 34 7 7 20 0 1 0 100 1000 10";
        let usage = parse(text).expect("a stat line");
        assert_eq!(usage, ThreadUsage { name: "a (b) c".to_owned(), cpu: Duration::from_millis(1540) });
    }

    #[test]
    fn a_line_of_a_status_is_read() {
        let status = "VmHWM:\t    5044 kB\nVmRSS:\t    5040 kB\nHugetlbPages:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(
            ["VmRSS:", "HugetlbPages:", "Threads:"].map(|name| bytes(status, name)),
            [Some(5040 << 10), Some(2 << 20), None]
        );
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let me = std::process::id();
        assert!(memory_bytes(me).unwrap() > 100_000);
        assert!(memory_max_bytes(me).unwrap() >= memory_bytes(me).unwrap());
        assert!(cpu_time(me).is_ok() && threads(me).is_ok());
        assert!(cpu_time_exact(me).unwrap() > Duration::ZERO);
    }

    #[test]
    fn the_kernels_softirq_threads_are_found_by_name() {
        let found = kernel_threads(&["ksoftirqd/"]).unwrap();
        assert!(found.iter().all(|process| cpu_time_exact(*process).is_ok()), "{found:?}");
        assert!(kernel_threads(&["no such name"]).unwrap().is_empty());
    }
}
