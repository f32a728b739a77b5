//! Any bytes as a resume journal, and any records in one; and as what another process says of files it is going to make.

use ferri_storage::intact_claims;
use ferri_storage::resume::{JournalError, Parsed, parse};

use crate::script::Script;

/// What a record of ranges may cost in time is bounded by the pieces, so a script is given few of them.
const RECORDS_MAX: usize = 64;

/// The bytes themselves, and a journal with valid checksums that is made of them: else nothing behind the first record
/// would be reached.
pub fn journal(data: &[u8]) {
    let _ = check(data);
    claims(data);
    let framed = framed(data);
    if let Some(parsed) = check(&framed) {
        // Torn in the middle, it says what the records before say.
        let middle = framed.len() / 2;
        if let Some(torn) = check(&framed[..middle]) {
            assert_eq!(torn.identity, parsed.identity);
            assert!(torn.valid_length <= parsed.valid_length.min(middle));
        }
    }
}

/// The bytes themselves, and behind a head that fits them.
fn claims(data: &[u8]) {
    // The shortest record has 44 bytes.
    assert!(intact_claims(data) <= data.len() / 44);
    let mut record = (data.len() as u32).to_le_bytes().to_vec();
    record.extend(crc32c(0, data).to_le_bytes());
    record.extend(data);
    let count = intact_claims(&record);
    assert!(count <= 1 && (count == 0 || 36 <= data.len()));
}

fn check(bytes: &[u8]) -> Option<Parsed> {
    let parsed = match parse(bytes) {
        Ok(parsed) => parsed,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(error != JournalError::Empty || bytes.len() < 1 << 16);
            return None;
        }
    };
    assert!(parsed.valid_length <= bytes.len());
    assert_eq!(parsed.is_torn, parsed.valid_length < bytes.len());
    let (durable, unsure) = (parsed.state.durable(), parsed.state.unsure());
    assert_eq!((durable.len(), unsure.len()), (parsed.identity.piece_count, parsed.identity.piece_count));
    assert!(durable.iter_ones().all(|piece| !unsure.get(piece)), "a piece is both durable and unsure");
    let again = parse(&bytes[..parsed.valid_length]).expect("what counts stands alone");
    assert!(!again.is_torn);
    assert_eq!((again.identity, again.valid_length), (parsed.identity.clone(), parsed.valid_length));
    assert_eq!((again.state.durable(), again.state.unsure()), (durable, unsure));
    assert_eq!(again.state.is_closed(), parsed.state.is_closed());
    Some(parsed)
}

/// A journal: the head, an identity, then records of the kinds and payloads that the script says, each with its checksum.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut script = Script::new(data);
    let mut out = b"ferrijnl\x01\0".to_vec();
    let mut chain = crc32c(0, &out);
    let mut identity = vec![1; 20];
    identity.extend([0; 32]);
    identity.extend(script.u16().to_be_bytes());
    identity.extend([script.u8() % 2, 0]);
    identity.extend([script.u8() % 8, 0, 0, 0]);
    identity.extend([9; 8]);
    identity.extend(b"/downloads");
    push(&mut out, &mut chain, 1, &identity);
    for _ in 0..RECORDS_MAX {
        if script.is_empty() {
            break;
        }
        let kind = script.u8() % 17;
        push(&mut out, &mut chain, kind, script.short());
    }
    out
}

fn push(out: &mut Vec<u8>, chain: &mut u32, kind: u8, payload: &[u8]) {
    let start = out.len();
    out.push(kind);
    out.extend((payload.len() as u16).to_le_bytes());
    out.extend(payload);
    *chain = crc32c(*chain, &out[start..]);
    out.extend(chain.to_le_bytes());
}

/// CRC-32C, bit by bit.
fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    let mut crc = !seed;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
