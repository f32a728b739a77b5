//! Every target over its corpus and over variations of it, as a plain test, so that the targets and what they once found
//! cannot rot. No fuzzer is needed.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ferri_fuzz::{MEMORY_BASE, TARGETS, Target};
use ferri_sim::Chance;
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Variations made for each target, shared by the files of its corpus.
const VARIATIONS: usize = 20_000;

/// Bytes that all variations of one target have together, at most, so that large files have fewer.
const VARIED_BYTES: usize = 4 << 20;

/// One test, because the memory that is measured is that of the whole process.
#[test]
fn every_target_holds_for_its_corpus_and_for_variations_of_it() {
    for target in TARGETS {
        let begun = Instant::now();
        let corpus = corpus(target.name);
        assert!(!corpus.is_empty(), "{}: there is no corpus", target.name);
        run(target, "nothing", &[]);
        for (path, bytes) in &corpus {
            run(target, &path.display().to_string(), bytes);
            for end in 0..bytes.len().min(512) {
                run(target, &format!("the first {end} bytes of {}", path.display()), &bytes[..end]);
            }
        }
        vary(target, &corpus);
        println!("{}: {:?}", target.name, begun.elapsed());
    }
}

#[test]
fn the_seeds_are_those_that_the_command_makes() {
    for seed in ferri_fuzz::seeds::all() {
        let path = folder(seed.target).join(seed.name);
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == seed.bytes, "{} is stale: run the example `seeds`", path.display());
    }
}

#[test]
fn the_corpora_are_small_and_belong_to_targets() {
    let mut total = 0;
    let corpus = folder("");
    for entry in fs::read_dir(&corpus).expect("a corpus") {
        let name = entry.expect("a readable folder").file_name().into_string().expect("a plain name");
        assert!(TARGETS.iter().any(|target| target.name == name), "{name} is not a target");
        let kept = crate::corpus(&name).into_iter().filter(|(path, _)| !is_found(path));
        total += kept.map(|(_, bytes)| bytes.len()).sum::<usize>();
    }
    assert!(total < 400 << 10, "the corpora have {total} bytes; keep what says something");
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Whether a fuzzer left the file there; those have the name of their hash and are not kept.
fn is_found(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The files of a corpus in the order of their names.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder(target)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(&path).expect("a readable file"));
    paths.into_iter().map(read).collect()
}

fn vary(target: &Target, corpus: &[(PathBuf, Vec<u8>)]) {
    // The name is part of the seed, so that targets with the same files see other variations.
    let seed = target.name.bytes().fold(1, |seed: u64, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut chance = Chance::new(seed);
    let mut budget = VARIED_BYTES;
    for number in 0..VARIATIONS {
        let (path, bytes) = &corpus[chance.index(corpus.len())];
        let other = &corpus[chance.index(corpus.len())].1;
        let varied = varied(bytes, other, &mut chance);
        if budget < varied.len() {
            return;
        }
        budget -= varied.len();
        run(target, &format!("variation {number}, of {}", path.display()), &varied);
    }
}

/// Runs the target once. What it panics with is shown with the bytes that made it.
fn run(target: &Target, what: &str, bytes: &[u8]) {
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    let used = MEMORY.peak_usage().saturating_sub(before);
    let name = target.name;
    assert!(result.is_ok(), "{name}: {what} does not hold: b\"{}\"", bytes.escape_ascii());
    let limit = MEMORY_BASE + target.memory_factor * bytes.len();
    assert!(used <= limit, "{name}: {what} took {used} bytes of memory for {} of input", bytes.len());
}

/// The bytes with one to four changes of the kinds that break parsers.
fn varied(bytes: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut varied = bytes.to_vec();
    for _ in 0..=chance.index(4) {
        let at = chance.index(varied.len() + 1);
        let length = chance.index(8).min(varied.len() - at);
        match chance.index(10) {
            0 => varied.truncate(at),
            1 if at < varied.len() => varied[at] ^= 1 << chance.index(8),
            2 if at < varied.len() => varied[at] = chance.next() as u8,
            3 => drop(varied.drain(at..at + length)),
            4 => drop(varied.splice(at..at, chance.next().to_be_bytes().into_iter().take(1 + length))),
            5 => {
                let number = NUMBERS[chance.index(NUMBERS.len())].to_be_bytes();
                let end = (at + 4).min(varied.len());
                varied[at..end].copy_from_slice(&number[..end - at]);
            }
            6 => drop(varied.splice(at..at + length, DIGITS[chance.index(DIGITS.len())].bytes())),
            7 => {
                let part = varied[at..(at + 64).min(varied.len())].to_vec();
                drop(varied.splice(at..at, part));
            }
            8 => {
                let from = chance.index(other.len() + 1);
                varied.truncate(at);
                varied.extend_from_slice(&other[from..]);
            }
            _ => {
                if let Some(digit) = varied.iter().skip(at).position(u8::is_ascii_digit) {
                    varied[at + digit] = b'0' + chance.index(10) as u8;
                }
            }
        }
        varied.truncate(64 << 10);
    }
    varied
}

/// Numbers at which lengths and indexes go wrong.
const NUMBERS: [u32; 10] =
    [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 16384, 16385, (1 << 20) - 4, 1 << 20, (1 << 20) + 1];

/// The same, as text.
const DIGITS: [&str; 8] =
    ["0", "-1", "-0", "00", "4294967296", "9223372036854775807", "18446744073709551616", "i0e"];
