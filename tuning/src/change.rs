//! What may be changed: each place that is understood, and what may stand there. Everything else is refused.

use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::root::chosen;

/// One file of the kernel, and what it should say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Where, relative to the root.
    pub path: String,
    /// What should stand there.
    pub value: String,
}

/// How a file is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers, separated by blanks or tabs.
    Numbers,
    /// One word.
    Word,
    /// One of several words, in brackets when it is read.
    Choice,
    /// A list of cores.
    List,
    /// A mask of cores.
    Mask,
}

/// Every place that is understood. `*` stands for one name.
const PLACES: [(&str, Kind); 20] = [
    ("proc/irq/*/smp_affinity_list", Kind::List),
    ("proc/sys/kernel/io_uring_disabled", Kind::Numbers),
    ("proc/sys/kernel/nmi_watchdog", Kind::Numbers),
    ("proc/sys/kernel/numa_balancing", Kind::Numbers),
    ("proc/sys/fs/nr_open", Kind::Numbers),
    ("proc/sys/net/core/rps_sock_flow_entries", Kind::Numbers),
    ("proc/sys/net/core/somaxconn", Kind::Numbers),
    ("proc/sys/net/core/wmem_max", Kind::Numbers),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", Kind::Numbers),
    ("proc/sys/net/ipv4/tcp_slow_start_after_idle", Kind::Numbers),
    ("proc/sys/vm/stat_interval", Kind::Numbers),
    ("proc/sys/vm/swappiness", Kind::Numbers),
    ("sys/block/*/queue/scheduler", Kind::Choice),
    ("sys/class/net/*/queues/*/rps_flow_cnt", Kind::Numbers),
    ("sys/class/net/*/queues/*/xps_cpus", Kind::Mask),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", Kind::Word),
    ("sys/devices/system/cpu/*/cpufreq/scaling_governor", Kind::Word),
    ("sys/devices/system/cpu/*/cpuidle/*/disable", Kind::Numbers),
    ("sys/kernel/mm/transparent_hugepage/defrag", Kind::Choice),
    ("sys/kernel/mm/transparent_hugepage/enabled", Kind::Choice),
];

impl Change {
    /// A change of a setting for sysctl(8).
    pub fn sysctl(name: &str, value: impl ToString) -> Change {
        Change { path: format!("proc/sys/{}", name.replace('.', "/")), value: value.to_string() }
    }

    /// How the file is read and written; or why this change is refused.
    pub fn check(&self) -> Result<Kind, String> {
        let Some((_, kind)) = PLACES.iter().find(|(place, _)| matches(place, &self.path)) else {
            return Err(format!("{} is no place that is understood", self.path));
        };
        match kind.fits(&self.value) {
            true => Ok(*kind),
            false => Err(format!("{} cannot say `{}`", self.path, self.value)),
        }
    }
}

/// Whether a path is one that a place stands for. No name is empty or leads elsewhere.
fn matches(place: &str, path: &str) -> bool {
    let name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
        !name.is_empty() && name != "." && name != ".." && name.bytes().all(plain)
    };
    let (places, names): (Vec<&str>, Vec<&str>) = (place.split('/').collect(), path.split('/').collect());
    places.len() == names.len()
        && places.iter().zip(&names).all(|(place, part)| match *place {
            "*" => name(part),
            place => place == *part,
        })
}

impl Kind {
    /// Whether such a file may be told this.
    fn fits(self, value: &str) -> bool {
        match self {
            Kind::Numbers => {
                let mut numbers = value.split(' ');
                !value.is_empty() && numbers.all(|number| number.len() <= 20 && number.parse::<i64>().is_ok())
            }
            Kind::Word | Kind::Choice => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'+');
                (1..=32).contains(&value.len()) && value.bytes().all(plain)
            }
            Kind::List => value.parse::<Cores>().is_ok_and(|cores| !cores.is_empty()),
            Kind::Mask => Cores::from_mask(value).is_ok(),
        }
    }

    /// What a file says, in the one form in which it is compared.
    pub fn plain(self, text: &str) -> String {
        let text = text.trim();
        let cores = match self {
            Kind::Numbers => return text.split_whitespace().collect::<Vec<_>>().join(" "),
            Kind::Word => return text.to_owned(),
            Kind::Choice => return chosen(text).to_owned(),
            Kind::List => text.parse(),
            Kind::Mask => Cores::from_mask(text),
        };
        cores.map_or_else(|_| text.to_owned(), |cores: Cores| cores.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not understood is refused, and so is what leads elsewhere.
    #[test]
    fn only_known_places_and_values() {
        let check = |path: &str, value: &str| Change { path: path.to_owned(), value: value.to_owned() }.check();
        assert_eq!(check("proc/irq/38/smp_affinity_list", "0-1"), Ok(Kind::List));
        assert_eq!(check("proc/sys/net/core/somaxconn", "65535"), Ok(Kind::Numbers));
        for (path, value) in [
            ("proc/sys/kernel/core_pattern", "|x"),
            ("/proc/sys/net/core/somaxconn", "1"),
            ("proc/irq/../smp_affinity_list", "0"),
            ("proc/irq/a/b/smp_affinity_list", "0"),
            ("proc/irq//smp_affinity_list", "0"),
            ("proc/irq/38/smp_affinity_list", ""),
            ("proc/sys/net/core/somaxconn", "1\n2"),
            ("proc/sys/net/core/somaxconn", "lots"),
            ("sys/block/vda/queue/scheduler", "none; x"),
        ] {
            assert!(check(path, value).is_err(), "{path} {value}");
        }
    }

    /// What the kernel writes is compared with what was wanted in one form.
    #[test]
    fn values_are_compared_in_one_form() {
        assert_eq!(Kind::Numbers.plain("4096\t131072\t6291456\n"), "4096 131072 6291456");
        assert_eq!(Kind::Choice.plain("none [mq-deadline] bfq"), "mq-deadline");
        assert_eq!(Kind::List.plain("0,1,2"), "0-2");
        assert_eq!(Kind::Mask.plain("00000000,00000003"), Kind::Mask.plain("3"));
    }
}
