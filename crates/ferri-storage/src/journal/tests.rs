//! Records in, bytes out, and back.

#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn identity() -> Identity {
    Identity {
        info_hash: [1; 20],
        info_hash_v2: [0; 32],
        piece_count: 20_000,
        file_count: 3,
        paths: [9; 8],
        root: "/home/someone/Downloads".into(),
    }
}

const OWNER: Owner = Owner { origin: Origin::Made, inode: 12, born: -3 };

const STAMP: Stamp = Stamp { size: 5, mtime: -7, inode: 99, ctime: 3 };

fn every_kind() -> Vec<Record> {
    vec![
        Record::Session { boot: [3; 16], time: 1_000 },
        Record::Intent { piece: 5, time: 2_000 },
        Record::Stamp { file: 3, stamp: Some(STAMP) },
        Record::Stamp { file: 1, stamp: Some(STAMP) },
        Record::Stamp { file: 1, stamp: None },
        Record::Written { piece: 5 },
        Record::Durable { first: 5, count: 1 },
        Record::Durable { first: 100, count: 50 },
        Record::Unsure { first: 110, count: 2 },
        Record::Gone { first: 120, count: 3 },
        Record::DurableBits { first: 8192, bits: vec![0b101, 0, 255] },
        Record::UnsureBits { first: 16, bits: vec![1] },
        Record::Intent { piece: 19_999, time: 3_000 },
        Record::Owner { file: 0, owner: Some(OWNER) },
        Record::Owner { file: 1, owner: Some(Owner { origin: Origin::Found, ..OWNER }) },
        Record::Owner { file: 0, owner: None },
        Record::Claim { first: 0, count: 2 },
        Record::Parted { file: 2, piece: 7 },
        Record::Parted { file: 2, piece: 8 },
        Record::Joined { file: 2, piece: 7 },
        Record::Owner { file: 2, owner: Some(Owner { origin: Origin::Theirs, ..OWNER }) },
        Record::Name("früher".to_owned()),
        Record::Name("ein Name".to_owned()),
        Record::Whole { file: 2 },
        Record::Move(MoveRecord::Renamed { file: 0, path: Some("t/another".into()) }),
        Record::Move(MoveRecord::Renamed { file: 1, path: Some("t/b".into()) }),
        Record::Move(MoveRecord::Renamed { file: 1, path: None }),
        Record::Move(MoveRecord::Begin { root: "/srv".into() }),
        Record::Move(MoveRecord::End),
        Record::Move(MoveRecord::From { root: "/home".into() }),
        Record::Move(MoveRecord::Left { file: 2, path: "t/c".into(), left: Birth { inode: 7, born: -1 } }),
        Record::Move(MoveRecord::Begin { root: "/mnt".into() }),
        Record::Move(MoveRecord::Path { file: 1, from: "t/b.part".into(), to: "u/b".into() }),
        Record::Move(MoveRecord::Copy { file: 1, copy: Birth { inode: 8, born: 9 } }),
    ]
}

fn encoded(records: &[Record]) -> Vec<u8> {
    let mut encoder = Encoder::begin(&identity());
    records.iter().for_each(|record| encoder.push(record));
    encoder.bytes
}

/// A journal as the first version wrote it: stamps without a time of the inode.
pub(crate) fn in_version_1(journal: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(1u16.to_le_bytes());
    let mut chain = crc32c(0, &bytes);
    let mut records = Vec::new();
    let identity = each_record(journal, |record| records.push(record)).unwrap();
    for record in std::iter::once(Record::Identity(identity)).chain(records) {
        let mut payload = Vec::new();
        encode_payload(&record, &mut payload);
        if let Record::Stamp { stamp: Some(_), .. } = record {
            payload.truncate(payload.len() - 8);
        }
        let mut framed = vec![kind(&record)];
        framed.extend(u16::try_from(payload.len()).unwrap().to_le_bytes());
        framed.extend(payload);
        chain = crc32c(chain, &framed);
        bytes.extend(framed);
        bytes.extend(chain.to_le_bytes());
    }
    bytes
}

#[test]
fn what_was_written_is_read_and_compacts_to_the_same() {
    let parsed = parse(&encoded(&every_kind())).unwrap();
    assert_eq!(parsed.identity, identity());
    assert!(!parsed.is_torn && !parsed.state.is_closed());
    let durable: Vec<_> = parsed.state.durable().iter_ones().collect();
    assert_eq!(durable.len(), 1 + 50 - 2 - 3 + 10);
    assert_eq!(parsed.state.unsure().iter_ones().collect::<Vec<_>>(), [16, 110, 111, 19_999]);
    assert_eq!(parsed.state.stamps.iter().collect::<Vec<_>>(), [(3, STAMP)]);
    assert_eq!(parsed.state.intents, BTreeMap::from([(19_999, 3_000)]));
    assert_eq!((parsed.state.session.last, parsed.state.session.time), (3_000, 1_000));

    let origins: Vec<_> = parsed.state.owners.iter().map(|(file, owner)| (*file, owner.origin)).collect();
    assert_eq!(origins, [(1, Origin::Found), (2, Origin::Theirs)]);
    assert_eq!(parsed.state.name, "ein Name");
    assert_eq!(parsed.state.claims, BTreeSet::from([0, 1]));
    assert_eq!(parsed.state.parted, BTreeSet::from([(2, 8)]));

    let again = parse(&encoded(&parsed.state.records())).unwrap();
    assert_eq!(format!("{:?}", again.state), format!("{:?}", parsed.state));
}

#[test]
fn its_records_can_be_read_without_a_state() {
    let bytes = encoded(&every_kind());
    let mut found = Vec::new();
    assert_eq!(each_record(&bytes, |record| found.push(record)).unwrap(), identity());
    assert_eq!(found, every_kind());
    found.clear();
    each_record(&bytes[..bytes.len() - 1], |record| found.push(record)).unwrap();
    assert_eq!(found.len(), every_kind().len() - 1);
    assert_eq!(each_record(b"nothing", drop), Err(JournalError::NotAJournal));
}

#[test]
fn a_name_is_kept_as_far_as_a_file_may_be_called_so() {
    let long = Record::Name("ü".repeat(400));
    let parsed = parse(&encoded(std::slice::from_ref(&long))).unwrap();
    assert!(!parsed.is_torn && parsed.state.name.starts_with(&"ü".repeat(127)));
    let again = parse(&encoded(&parsed.state.records())).unwrap();
    assert!(!again.is_torn && again.state.name.starts_with(&"ü".repeat(127)));
}

#[test]
fn a_journal_of_version_1_is_read_and_tells_no_time_of_inodes() {
    let records = every_kind();
    let parsed = parse(&in_version_1(&encoded(&records))).unwrap();
    let current = parse(&encoded(&records)).unwrap();
    assert!(!parsed.is_current && !parsed.is_torn && current.is_current);
    let without = |state: &State| format!("{state:?}").replace(&format!("{STAMP:?}"), "");
    let expected = Stamp { ctime: 0, ..STAMP };
    assert_eq!(parsed.state.stamps.iter().collect::<Vec<_>>(), [(3, expected)]);
    let stamped = format!("{:?}", parsed.state).replace(&format!("{expected:?}"), "");
    assert_eq!(stamped, without(&current.state));
}

#[test]
fn closed_counts_only_as_the_last_word() {
    let mut records = every_kind();
    records.push(Record::Closed);
    assert!(parse(&encoded(&records)).unwrap().state.is_closed());
    records.push(Record::Intent { piece: 1, time: 0 });
    assert!(!parse(&encoded(&records)).unwrap().state.is_closed());
}

#[test]
fn cut_anywhere_it_says_what_the_whole_records_before_the_cut_say() {
    let records = every_kind();
    let bytes = encoded(&records);
    let ends: Vec<usize> = (0..=records.len()).map(|n| encoded(&records[..n]).len()).collect();
    for cut in 0..bytes.len() {
        let whole = ends.iter().rposition(|&end| end <= cut);
        match (parse(&bytes[..cut]), whole) {
            (Ok(parsed), Some(whole)) => {
                assert_eq!(parsed.valid_length, ends[whole]);
                assert_eq!(parsed.is_torn, ends[whole] < cut);
            }
            (Err(_), None) => {}
            (other, whole) => panic!("cut at {cut}: {other:?}, expected {whole:?} records"),
        }
    }
}

#[test]
fn a_flipped_bit_ends_the_reading_at_its_record() {
    let records = every_kind();
    let bytes = encoded(&records);
    let ends: Vec<usize> = (0..=records.len()).map(|n| encoded(&records[..n]).len()).collect();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let Ok(parsed) = parse(&damaged) else { continue };
            let before = ends.iter().rposition(|&end| end <= at).unwrap();
            assert_eq!(parsed.valid_length, ends[before], "byte {at}, bit {bit}");
            assert!(parsed.is_torn);
        }
    }
}

#[test]
fn records_that_are_intact_but_out_of_place_are_not_taken() {
    let one = encoded(&[Record::Durable { first: 1, count: 1 }]);
    let head = encoded(&[]).len();
    let mut twice = one.clone();
    twice.extend(&one[head..]);
    let parsed = parse(&twice).unwrap();
    assert_eq!((parsed.valid_length, parsed.is_torn), (one.len(), true));
}

#[test]
fn nonsense_with_a_good_checksum_is_damage() {
    for record in [
        Record::Durable { first: u32::MAX, count: 2 },
        Record::Durable { first: 19_999, count: 2 },
        Record::Intent { piece: 20_000, time: 0 },
        Record::Stamp { file: 4, stamp: None },
        Record::Owner { file: 3, owner: None },
        Record::Claim { first: 2, count: 2 },
        Record::Parted { file: 3, piece: 0 },
        Record::Joined { file: 0, piece: 20_000 },
        Record::DurableBits { first: 19_992, bits: vec![0, 1] },
        Record::DurableBits { first: 24_000, bits: vec![] },
        Record::Move(MoveRecord::Renamed { file: 3, path: None }),
        Record::Move(MoveRecord::Path { file: 0, from: "a".into(), to: "b".into() }),
        Record::Move(MoveRecord::Copy { file: 0, copy: Birth { inode: 1, born: 1 } }),
        Record::Move(MoveRecord::Left { file: 0, path: "a".into(), left: Birth { inode: 1, born: 1 } }),
        Record::Identity(identity()),
    ] {
        let parsed = parse(&encoded(std::slice::from_ref(&record))).unwrap();
        assert!(parsed.is_torn, "{record:?}");
        assert!(parsed.state.durable().none());
    }
}

#[test]
fn what_is_no_journal_is_told_apart() {
    assert_eq!(parse(b"").unwrap_err(), JournalError::Empty);
    assert_eq!(parse(b"ferri").unwrap_err(), JournalError::Empty);
    assert_eq!(parse(b"d8:announce").unwrap_err(), JournalError::NotAJournal);
    assert_eq!(parse(&[0; 100]).unwrap_err(), JournalError::NotAJournal);
    assert_eq!(parse(b"ferrijnl\x03\x00rest").unwrap_err(), JournalError::Version(3));
    assert_eq!(parse(b"ferrijnl\x00\x00rest").unwrap_err(), JournalError::Version(0));
    let huge = Identity { piece_count: u32::MAX, ..identity() };
    assert_eq!(parse(&Encoder::begin(&huge).bytes).unwrap_err(), JournalError::Damaged);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(mut bytes: Vec<u8>, with_head: bool) {
        if with_head {
            let mut whole = encoded(&[]);
            whole.append(&mut bytes);
            bytes = whole;
        }
        if let Ok(parsed) = parse(&bytes) {
            prop_assert!(parsed.state.durable().none());
        }
    }
}
