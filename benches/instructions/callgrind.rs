//! What callgrind writes: the self cost of each instruction, read from the format that it documents
//! (Valgrind's manual, "Callgrind Format Specification"), with names and positions written out in full.

use std::collections::HashMap;

/// How callgrind must be called for [`parse`]: one cost line for each instruction, nothing abbreviated, and nothing
/// collected outside of the function that the pattern names.
pub const OPTIONS: [&str; 6] = [
    "--tool=callgrind",
    "--dump-instr=yes",
    "--dump-line=no",
    "--compress-strings=no",
    "--compress-pos=no",
    "--toggle-collect=ringcost::node::measured_turn",
];

/// The self cost of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Instructions by where they are.
    pub costs: HashMap<Site, u64>,
    /// All of them, as callgrind adds them up.
    pub total: u64,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// The file that was mapped: the program or a library.
    pub object: String,
    /// The symbol that the instruction belongs to.
    pub symbol: String,
    /// Its address in that file.
    pub address: u64,
}

/// A line that is not what the format says.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub number: usize,
    /// The line.
    pub text: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} of the profile, `{}`, is no cost line of one instruction", self.number, self.text)
    }
}

/// Reads a profile that was written with [`OPTIONS`].
///
/// # Errors
/// A cost line without address and count.
pub fn parse(text: &str) -> Result<Profile, BadLine> {
    let mut profile = Profile::default();
    let (mut object, mut symbol) = (String::new(), String::new());
    // The line behind `calls=` is the cost of what was called, which is told there, too.
    let mut inclusive = false;
    for (index, line) in text.lines().enumerate() {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "ob" => value.clone_into(&mut object),
                "fn" => value.clone_into(&mut symbol),
                "calls" => inclusive = true,
                _ => {}
            }
        } else if let Some(total) = line.strip_prefix("summary: ") {
            profile.total = total.trim().parse().unwrap_or(0);
        } else if line.starts_with("0x") && !std::mem::take(&mut inclusive) {
            let (address, cost) = cost_line(line).ok_or(BadLine { number: index + 1, text: line.to_owned() })?;
            let site = Site { object: object.clone(), symbol: symbol.clone(), address };
            *profile.costs.entry(site).or_insert(0) += cost;
        }
    }
    Ok(profile)
}

fn cost_line(line: &str) -> Option<(u64, u64)> {
    let (address, cost) = line.strip_prefix("0x")?.split_once(' ')?;
    Some((u64::from_str_radix(address, 16).ok()?, cost.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
positions: instr
events: Ir
summary: 36

ob=/bin/program
fl=a.rs
fn=outer
0x10 3
0x14 3
cob=/lib/libc.so.6
cfn=memcpy
calls=3 0x99
0x18 20
fi=b.rs
0x1c 7

ob=/lib/libc.so.6
fl=???
fn=memcpy
0x99 20
0x10 3
";

    /// Goal: self cost is what is counted, by symbol and object, and what was called is not counted twice.
    #[test]
    fn self_cost_adds_up() {
        let profile = parse(PROFILE).unwrap();
        assert_eq!(profile.total, profile.costs.values().sum::<u64>());
        let site = |object: &str, symbol: &str, address| Site { object: object.into(), symbol: symbol.into(), address };
        assert_eq!(profile.costs[&site("/bin/program", "outer", 0x1c)], 7);
        assert_eq!(profile.costs[&site("/lib/libc.so.6", "memcpy", 0x99)], 20);
        assert_eq!(profile.costs.len(), 5);
    }

    /// Goal: a line that is cut says where.
    #[test]
    fn a_cut_line_is_named() {
        let error = parse("fn=f\n0x10").unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the profile, `0x10`, is no cost line of one instruction");
    }
}
