//! Control groups: what the kernel lets this process's group use, in both versions of them.

use crate::cores::Cores;
use crate::fact::Fact;
use crate::root::Root;

/// Cores that the group may use.
pub fn cpuset(root: &Root) -> Fact<Cores> {
    first(root, "cpuset", &["cpuset.cpus.effective", "cpuset.effective_cpus"])
        .then(|(path, text)| text.parse().map_or_else(|_| Fact::unknown(format!("{path} says `{text}`")), Fact::Known))
}

/// Time that the group may use, in thousandths of a core: the least of its own and of those that it is in.
pub fn quota_millicores(root: &Root) -> Fact<Option<u64>> {
    chain(root, "cpu").then(|directories| {
        let quotas: Vec<Fact<Option<u64>>> = directories.iter().map(|directory| quota(root, directory)).collect();
        least(quotas)
    })
}

/// Memory that the group may use, in bytes, in the same way.
pub fn memory_limit(root: &Root) -> Fact<Option<u64>> {
    chain(root, "memory").then(|directories| {
        let limit = |directory: &String| {
            let text = root.text(&format!("{directory}/memory.max"));
            let text = text.or_else(|| root.text(&format!("{directory}/memory.limit_in_bytes")));
            // Version 1 has a number near the largest one for no limit.
            text.map(|text| text.parse().ok().filter(|limit| *limit < 1 << 62))
        };
        least(directories.iter().map(limit).collect())
    })
}

/// The least of those that are known. The root of all groups has no such files, which is no limit.
fn least(values: Vec<Fact<Option<u64>>>) -> Fact<Option<u64>> {
    let known: Vec<Option<u64>> = values.iter().filter_map(|value| value.known().copied()).collect();
    match (known.is_empty(), values.len()) {
        (true, 2..) => values.into_iter().next().unwrap_or_else(|| Fact::unknown("there are no control groups")),
        _ => Fact::Known(known.into_iter().flatten().min()),
    }
}

fn quota(root: &Root, directory: &str) -> Fact<Option<u64>> {
    let millicores = |quota: u64, period: u64| quota.saturating_mul(1000).checked_div(period);
    let second = root.text(&format!("{directory}/cpu.max")).map(|text| {
        let mut words = text.split_whitespace().map(|word| word.parse::<u64>().ok());
        match (words.next().flatten(), words.next().flatten()) {
            (Some(quota), Some(period)) => millicores(quota, period),
            _ => None,
        }
    });
    second.or_else(|| {
        let period = root.value::<u64>(&format!("{directory}/cpu.cfs_period_us"));
        root.value::<i64>(&format!("{directory}/cpu.cfs_quota_us"))
            .then(|quota| period.map(|period| u64::try_from(quota).ok().and_then(|quota| millicores(quota, period))))
    })
}

/// The first of these files that is found, from the process's own group upwards.
fn first(root: &Root, controller: &str, files: &[&str]) -> Fact<(String, String)> {
    chain(root, controller).then(|directories| {
        let paths =
            directories.iter().flat_map(|directory| files.iter().map(move |file| format!("{directory}/{file}")));
        let mut last = Fact::unknown(format!("there is no group of processes with {controller}"));
        for path in paths {
            match root.text(&path) {
                Fact::Known(text) if !text.is_empty() => return Fact::Known((path, text)),
                Fact::Unknown { unknown } => last = Fact::Unknown { unknown },
                Fact::Known(_) => {}
            }
        }
        last
    })
}

/// The directories of the process's group and of all that it is in, its own first. Inside of a container the path in
/// /proc is that of the host, and the files lie at the top.
fn chain(root: &Root, controller: &str) -> Fact<Vec<String>> {
    const BASE: &str = "sys/fs/cgroup";
    root.text("proc/self/cgroup").then(|text| {
        let of = |wanted: &dyn Fn(&str) -> bool| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (controllers, path) = (parts.next()?, parts.next()?);
                wanted(controllers).then(|| path.to_owned())
            })
        };
        let first = of(&|controllers| controllers.split(',').any(|name| name == controller));
        let (base, path) = match (first, of(&str::is_empty)) {
            (Some(path), _) => (format!("{BASE}/{controller}"), path),
            (None, Some(path)) => (BASE.to_owned(), path),
            (None, None) => return Fact::unknown(format!("proc/self/cgroup names no group with {controller}")),
        };
        let mut directories = vec![base.clone()];
        let mut at = base;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at += &format!("/{name}");
            directories.push(at.clone());
        }
        directories.reverse();
        Fact::Known(directories)
    })
}
