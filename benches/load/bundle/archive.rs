//! Bundles as files.

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::{Bundle, Round};
use crate::histogram::Latencies;
use crate::whole;

/// The form that is written.
pub const FORM: u32 = 1;
/// No member of an archive is larger; one of a report with its windows takes a few KiB, a histogram up to 200 KiB.
const MEMBER_BYTES_MAX: u64 = 16 << 20;
const ROUNDS_MAX: usize = 1000;

/// Writes a bundle.
///
/// # Errors
/// The file cannot be written.
pub fn write(bundle: &Bundle, path: &Path) -> Result<(), Box<dyn Error>> {
    whole::write(path, &pack(bundle)?)
}

/// Reads a bundle.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn read(path: &Path) -> Result<Bundle, Box<dyn Error>> {
    let explain = |error: Box<dyn Error>| {
        format!("{}: {error}; wanted: a file that `ringload ... --keep FILE` wrote", path.display()).into()
    };
    File::open(path).map_err(Into::into).and_then(unpack).map_err(explain)
}

fn pack(bundle: &Bundle) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    member(&mut archive, "bundle.json", &json(bundle)?)?;
    member(&mut archive, "facts.json", &json(&bundle.facts)?)?;
    if let Some(node) = &bundle.node {
        member(&mut archive, "ringmain.toml", node.text.as_bytes())?;
    }
    for (number, round) in (1..).zip(&bundle.rounds) {
        member(&mut archive, &format!("rounds/{number}/report.json"), &json(&round.report)?)?;
        for (name, latencies) in &round.histograms {
            member(&mut archive, &format!("rounds/{number}/{name}.hdr"), &latencies.to_bytes())?;
        }
    }
    Ok(archive.into_inner()?.finish()?)
}

/// The same bundle gives the same bytes: nothing of the file system is in them.
fn member(archive: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    Ok(archive.append_data(&mut header, name, bytes)?)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

fn unpack(file: impl Read) -> Result<Bundle, Box<dyn Error>> {
    let mut archive = tar::Archive::new(GzDecoder::new(file));
    let mut bundle: Option<Bundle> = None;
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if entry.size() > MEMBER_BYTES_MAX {
            return Err(format!("{name} has {} bytes, and at most {MEMBER_BYTES_MAX} are read", entry.size()).into());
        }
        let mut bytes = Vec::new();
        entry.take(MEMBER_BYTES_MAX).read_to_end(&mut bytes)?;
        if name == "bundle.json" {
            bundle = Some(first(&bytes)?);
            continue;
        }
        let bundle = bundle.as_mut().ok_or("it does not begin with bundle.json")?;
        match (name.as_str(), name.strip_prefix("rounds/").and_then(|rest| rest.split_once('/'))) {
            ("facts.json", _) => bundle.facts = serde_json::from_slice(&bytes)?,
            ("ringmain.toml", _) => {
                let node = bundle.node.get_or_insert_default();
                (node.text, node.name) = (String::from_utf8(bytes)?, name);
            }
            (_, Some((number, file))) => {
                let number = number.parse::<usize>().ok().filter(|number| (1..=ROUNDS_MAX).contains(number));
                let number = number.ok_or_else(|| format!("{name}: rounds have numbers from 1 to {ROUNDS_MAX}"))?;
                if bundle.rounds.len() < number {
                    bundle.rounds.resize_with(number, Round::default);
                }
                part(&mut bundle.rounds[number - 1], file, &bytes).map_err(|error| format!("{name}: {error}"))?;
            }
            // A later version may know more.
            _ => {}
        }
    }
    bundle.ok_or_else(|| "it holds no bundle.json".into())
}

fn first(bytes: &[u8]) -> Result<Bundle, Box<dyn Error>> {
    #[derive(serde::Deserialize)]
    struct Form {
        form: u32,
    }
    let Form { form } = serde_json::from_slice(bytes)?;
    if form != FORM {
        return Err(format!("it is of form {form}, and this version reads form {FORM}").into());
    }
    Ok(serde_json::from_slice(bytes)?)
}

fn part(round: &mut Round, file: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    if file == "report.json" {
        round.report = serde_json::from_slice(bytes)?;
    } else if let Some(name) = file.strip_suffix(".hdr") {
        round.histograms.insert(name.to_owned(), Latencies::from_bytes(bytes)?);
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::bundle::Program;
    use crate::node::Configuration;
    use serde_json::json;

    /// A bundle of so many rounds, in which p50 is about so much.
    pub fn bundle(rounds: u32, p50: f64) -> Bundle {
        let round = |number: u32| {
            let p50 = p50 * (1.0 + f64::from(number) / 100.0);
            let mut latencies = Latencies::new();
            latencies.record((p50 * 1000.0) as u64);
            let latency = json!({"p50": p50, "p99": p50 * 3.0});
            let report = json!({"valid": true, "traffic": {"latency_us": latency, "delivered_per_second": 1e5}});
            Round { report, histograms: [("latency".to_owned(), latencies)].into() }
        };
        let (text, name) = ("[limits]\n".to_owned(), "ringmain.toml".to_owned());
        let node = Configuration { text, name, environment: [].into() };
        let program =
            Program { name: "ringmain".to_owned(), version: "ringmain 1".to_owned(), sha256: "ab".to_owned() };
        Bundle {
            form: FORM,
            begun: "2026-01-02T03:04:05Z".to_owned(),
            command: vec!["ping-pong".to_owned(), "--node".to_owned()],
            node: Some(node),
            programs: vec![program],
            facts: json!({"kernel": {"release": "6.1"}, "sysctls": {"net.core.somaxconn": "4096"}}),
            rounds: (0..rounds).map(round).collect(),
        }
    }

    /// What is written is what is read, and twice the same.
    #[test]
    fn round_trip() {
        let before = bundle(2, 10.0);
        let bytes = pack(&before).unwrap();
        assert_eq!(bytes, pack(&bundle(2, 10.0)).unwrap());
        let after = unpack(&bytes[..]).unwrap();
        assert_eq!((&after.command, &after.node, &after.programs), (&before.command, &before.node, &before.programs));
        assert_eq!((&after.facts, after.rounds.len()), (&before.facts, 2));
        assert_eq!(after.rounds[1].report, before.rounds[1].report);
        let p50 = after.rounds[1].histograms["latency"].percentiles().p50;
        assert!((p50 / 10.1 - 1.0).abs() < 0.01, "{p50}");
    }

    /// What is no bundle, a later one, and one that was cut are refused.
    #[test]
    fn refused() {
        assert!(unpack(&b"no archive"[..]).is_err());
        let later = Bundle { form: FORM + 1, ..bundle(1, 1.0) };
        let why = unpack(&pack(&later).unwrap()[..]).err().unwrap().to_string();
        assert!(why.contains("form 2"), "{why}");
        let bytes = pack(&bundle(1, 1.0)).unwrap();
        assert!(unpack(&bytes[..bytes.len() / 2]).is_err());
    }
}
