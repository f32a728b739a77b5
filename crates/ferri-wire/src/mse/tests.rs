//! Whole exchanges: of two honest sides, and of one with a liar.

#![allow(clippy::unwrap_used)]

use ferri_hash::Sha1Digest;
use ferri_metainfo::InfoHash;

use super::*;

const TORRENT: [u8; 20] = [0xaa; 20];
/// What both sides say after the exchange.
const AFTER: [&[u8]; 2] = [b"the dialer goes on", b"the listener, too"];

/// Random bytes that make paddings of these lengths.
fn chance(seed: u8, noise: u16, zeros: u16) -> Chance {
    let mut random: [u8; CHANCE_LEN] = std::array::from_fn(|i| (i as u8).wrapping_mul(167) ^ seed);
    random[20..22].copy_from_slice(&noise.to_be_bytes());
    random[22..24].copy_from_slice(&zeros.to_be_bytes());
    Chance::new(&random)
}

/// Gives what was sent, `cut` bytes at a time.
fn parts(bytes: &[u8], cut: usize) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(cut.max(1))
}

struct Scene {
    wishes: [Encryption; 2],
    /// The lengths of both paddings, of the dialer and of the listener.
    pads: [[u16; 2]; 2],
    initial: Vec<u8>,
    /// Bytes that arrive together.
    cut: usize,
    known: Option<InfoHash>,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            wishes: [Encryption::Allow; 2],
            pads: [[5, 6], [7, 8]],
            initial: b"an initial payload".to_vec(),
            cut: usize::MAX,
            known: Some(TORRENT.into()),
        }
    }
}

impl Scene {
    /// Both sides are established and hear each other, encrypted or not as `expected` says; or one of them gives up.
    fn check(&self, expected: Result<Method, MseError>) {
        let found = self.run();
        assert_eq!(
            found,
            expected,
            "{:?}, paddings {:?}, initial payload of {}, cut {}",
            self.wishes,
            self.pads,
            self.initial.len(),
            self.cut,
        );
    }

    fn run(&self) -> Result<Method, MseError> {
        let [ours, theirs] = self.pads;
        let mut dialer =
            Dialer::new(self.wishes[0], TORRENT.into(), &self.initial, chance(1, ours[0], ours[1]));
        let request = dialer.output();
        assert_eq!(request.len(), PUBLIC_KEY_LEN + usize::from(ours[0]));
        let (key, padding) = request.split_first_chunk().unwrap();
        let mut listener = Listener::new(self.wishes[1], key, chance(2, theirs[0], theirs[1]))?;
        for part in parts(padding, self.cut) {
            assert!(matches!(listener.handle(part)?, Step::More));
        }
        for part in parts(&listener.output(), self.cut) {
            assert!(dialer.handle(part)?.is_none());
        }
        let mut of_listener = None;
        for part in parts(&dialer.output(), self.cut) {
            let mut step = listener.handle(part)?;
            if let Step::Torrent(digest) = step {
                assert_eq!(digest, torrent_digest(&TORRENT.into()));
                step = listener.torrent(self.known.as_ref())?;
            }
            if let Step::Established(established) = step {
                assert!(of_listener.replace(established).is_none(), "it goes on behind its end");
            }
        }
        let mut of_listener = of_listener.expect("the request ends with the initial payload");
        let mut after = AFTER[1].to_vec();
        if let Some(ciphers) = &mut of_listener.ciphers {
            ciphers.seals.apply(&mut after);
        }
        let mut answer = listener.output();
        answer.extend(after);
        let mut of_dialer: Option<Established> = None;
        let mut heard = Vec::new();
        for part in parts(&answer, self.cut) {
            match &mut of_dialer {
                None => of_dialer = dialer.handle(part)?,
                Some(established) => {
                    let mut part = part.to_vec();
                    if let Some(ciphers) = &mut established.ciphers {
                        ciphers.opens.apply(&mut part);
                    }
                    heard.extend(part);
                }
            }
        }
        let mut of_dialer = of_dialer.expect("the answer is whole");
        assert_eq!([of_dialer.received, heard].concat(), AFTER[1]);
        assert_eq!(of_listener.received, self.initial);
        let mut more = AFTER[0].to_vec();
        for (encrypts, decrypts) in of_dialer.ciphers.iter_mut().zip(&mut of_listener.ciphers) {
            encrypts.seals.apply(&mut more);
            assert_ne!(more, AFTER[0]);
            decrypts.opens.apply(&mut more);
        }
        assert_eq!(more, AFTER[0]);
        assert_eq!(of_dialer.ciphers.is_some(), of_listener.ciphers.is_some());
        Ok(if of_dialer.ciphers.is_some() { Method::Rc4 } else { Method::Plaintext })
    }
}

#[test]
fn what_both_sides_wish_decides_how_they_go_on() {
    use Encryption::{Allow, Disable, Prefer, Require};
    let (plaintext, rc4) = (Ok(Method::Plaintext), Ok(Method::Rc4));
    let none = |offered| Err(MseError::NoMethod(offered));
    for (wishes, expected) in [
        ([Allow, Allow], plaintext),
        ([Allow, Prefer], rc4),
        ([Allow, Require], rc4),
        ([Prefer, Allow], rc4),
        ([Prefer, Prefer], rc4),
        ([Prefer, Require], rc4),
        ([Require, Allow], rc4),
        ([Require, Prefer], rc4),
        ([Require, Require], rc4),
        ([Allow, Disable], none(3)),
        ([Require, Disable], none(2)),
        ([Disable, Allow], none(0)),
    ] {
        Scene { wishes, ..Scene::default() }.check(expected);
    }
}

#[test]
fn a_stream_may_be_cut_anywhere_and_paddings_have_any_length() {
    for wishes in [[Encryption::Allow; 2], [Encryption::Require; 2]] {
        let expected = Scene { wishes, ..Scene::default() }.run();
        for cut in 1..=240 {
            Scene { wishes, cut, ..Scene::default() }.check(expected);
        }
        for length in [0, 1, 255, 256, 511, 512] {
            for pads in
                [[[length, 0], [0, 0]], [[0, length], [0, 0]], [[0, 0], [length, 0]], [[0, 0], [0, length]]]
            {
                for cut in [1, usize::MAX] {
                    Scene { wishes, pads, cut, ..Scene::default() }.check(expected);
                }
            }
        }
    }
}

#[test]
fn an_initial_payload_has_up_to_64_kib_less_a_byte() {
    for length in [0, 1, 68, 65_535] {
        let initial: Vec<u8> = (0..length).map(|i| i as u8).collect();
        for wishes in [[Encryption::Allow; 2], [Encryption::Require; 2]] {
            let scene = Scene { wishes, initial: initial.clone(), cut: 1000, ..Scene::default() };
            scene.check(Scene { wishes, ..Scene::default() }.run());
        }
    }
}

#[test]
fn a_torrent_that_is_not_here_and_another_than_was_named_end_it() {
    Scene { known: None, ..Scene::default() }.check(Err(MseError::UnknownTorrent));
    Scene { known: Some([0xab; 20].into()), ..Scene::default() }.check(Err(MseError::WrongKeys));
}

/// A dialer that can say what it likes.
struct Liar {
    secret: [u8; PUBLIC_KEY_LEN],
    ciphers: Ciphers,
}

impl Liar {
    /// In front of a listener that was given its key.
    fn new(wish: Encryption) -> (Self, Listener) {
        let keys = dh::KeyPair::new([9; 20]);
        let mut listener = Listener::new(wish, &keys.public(), chance(2, 0, 0)).unwrap();
        let secret = keys.shared(listener.output().first_chunk().unwrap()).unwrap();
        (Self { secret, ciphers: Ciphers::of_dialer(&secret, &TORRENT.into()) }, listener)
    }

    /// The part of a request that is not encrypted, behind a padding.
    fn head(&self, padding: usize) -> Vec<u8> {
        let digest: Sha1Digest = parts::masked(torrent_digest(&TORRENT.into()), &self.secret);
        [&vec![0xee; padding][..], &parts::request_mark(&self.secret), &digest].concat()
    }
}

/// The last step of a listener that is sent this request, the last part of it encrypted.
fn ask(padding: usize, wish: Encryption, encrypted: &[u8]) -> Result<Option<Method>, MseError> {
    let (mut liar, mut listener) = Liar::new(wish);
    match listener.handle(&liar.head(padding))? {
        Step::Torrent(_) => drop(listener.torrent(Some(&TORRENT.into()))?),
        _ => return Ok(None),
    }
    let mut encrypted = encrypted.to_vec();
    liar.ciphers.seals.apply(&mut encrypted);
    let Step::Established(established) = listener.handle(&encrypted)? else { return Ok(None) };
    let mut answer = listener.output();
    liar.ciphers.opens.apply(&mut answer);
    let method = Method::of(u32::from_be_bytes(answer[8..12].try_into().unwrap()));
    assert_eq!(method == Some(Method::Rc4), established.ciphers.is_some());
    Ok(method)
}

#[test]
fn a_listener_takes_what_clients_send_and_refuses_the_rest() {
    let zeros = [0; 8];
    let request = |provided: u32, padding: u16, pad_bytes: &[u8]| {
        [&zeros[..], &provided.to_be_bytes(), &padding.to_be_bytes(), pad_bytes, &[0, 0]].concat()
    };
    let allow = Encryption::Allow;
    assert_eq!(ask(0, allow, &request(1, 0, &[])), Ok(Some(Method::Plaintext)));
    assert_eq!(ask(0, allow, &request(2, 0, &[])), Ok(Some(Method::Rc4)));
    assert_eq!(ask(512, allow, &request(3, 0, &[])), Ok(Some(Method::Plaintext)));
    // Other bits belong to methods that we do not know, and a padding may be anything.
    assert_eq!(ask(9, allow, &request(0xffff_fffe, 512, &[0x5a; 512])), Ok(Some(Method::Rc4)));
    assert_eq!(ask(0, allow, &request(0, 0, &[])), Err(MseError::NoMethod(0)));
    assert_eq!(ask(0, allow, &request(4, 0, &[])), Err(MseError::NoMethod(4)));
    assert_eq!(ask(0, Encryption::Require, &request(1, 0, &[])), Err(MseError::NoMethod(1)));
    assert_eq!(ask(0, Encryption::Prefer, &request(1, 0, &[])), Ok(Some(Method::Plaintext)));
    assert_eq!(ask(513, allow, &request(3, 0, &[])), Err(MseError::NoMark));
    assert_eq!(ask(0, allow, &request(3, 513, &[0; 513])), Err(MseError::PaddingTooLong(513)));
    assert_eq!(ask(0, allow, &request(3, 512, &[0; 511])), Ok(None));
    for bit in 0..64 {
        let mut wrong = request(3, 0, &[]);
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(ask(0, allow, &wrong), Err(MseError::WrongKeys), "bit {bit}");
    }
}

#[test]
fn what_follows_an_initial_payload_is_encrypted_only_in_an_encrypted_stream() {
    for (provided, tail) in [(1_u32, b"in plain"), (2, b"in RC4!!")] {
        let (mut liar, mut listener) = Liar::new(Encryption::Allow);
        let mut request = [&[0; 8][..], &provided.to_be_bytes(), &[0, 0, 0, 3], b"abc"].concat();
        liar.ciphers.seals.apply(&mut request);
        let mut tail = tail.to_vec();
        let expected = [b"abc", &tail[..]].concat();
        if provided == 2 {
            liar.ciphers.seals.apply(&mut tail);
        }
        listener.handle(&[liar.head(0), request, tail].concat()).unwrap();
        let Step::Established(established) = listener.torrent(Some(&TORRENT.into())).unwrap() else {
            panic!("the request is whole");
        };
        assert_eq!(established.received, expected);
    }
}

#[test]
fn a_stream_that_never_goes_on_is_given_up_after_as_many_bytes_as_a_padding_can_have() {
    let (_, mut listener) = Liar::new(Encryption::Allow);
    assert!(matches!(listener.handle(&[1; 512 + 19]), Ok(Step::More)));
    assert_eq!(listener.handle(&[1]).unwrap_err(), MseError::NoMark);
    let mut dialer = Dialer::new(Encryption::Allow, TORRENT.into(), b"", chance(1, 0, 0));
    dialer.handle(&dh::KeyPair::new([9; 20]).public()).unwrap();
    assert!(matches!(dialer.handle(&[1; 512 + 7]), Ok(None)));
    assert_eq!(dialer.handle(&[1]).unwrap_err(), MseError::NoMark);
}

#[test]
fn a_dialer_refuses_keys_that_hide_nothing_and_what_it_did_not_offer() {
    let answer = |wish, chosen: u32, padding: u16| {
        let mut dialer = Dialer::new(wish, TORRENT.into(), b"", chance(1, 0, 0));
        let keys = dh::KeyPair::new([9; 20]);
        let secret = keys.shared(dialer.output().first_chunk().unwrap()).unwrap();
        let mut answer = [&[0; 8][..], &chosen.to_be_bytes(), &padding.to_be_bytes()].concat();
        Ciphers::of_listener(&secret, &TORRENT.into()).seals.apply(&mut answer);
        dialer.handle(&[&keys.public(), &[0xee; 512][..], &answer].concat())
    };
    assert!(answer(Encryption::Allow, 1, 0).unwrap().unwrap().ciphers.is_none());
    assert!(answer(Encryption::Allow, 2, 0).unwrap().unwrap().ciphers.is_some());
    assert!(answer(Encryption::Require, 2, 0).unwrap().unwrap().ciphers.is_some());
    for (wish, chosen) in
        [(Encryption::Require, 1), (Encryption::Prefer, 1), (Encryption::Allow, 3), (Encryption::Allow, 0)]
    {
        assert_eq!(answer(wish, chosen, 0).unwrap_err(), MseError::WrongMethod(chosen), "{wish:?}");
    }
    assert!(answer(Encryption::Allow, 1, 512).unwrap().is_none());
    assert_eq!(answer(Encryption::Allow, 1, 513).unwrap_err(), MseError::PaddingTooLong(513));

    let weak = [0; PUBLIC_KEY_LEN];
    let mut dialer = Dialer::new(Encryption::Allow, TORRENT.into(), b"", chance(1, 0, 0));
    assert_eq!(dialer.handle(&weak).unwrap_err(), MseError::WeakKey);
    assert!(matches!(Listener::new(Encryption::Allow, &weak, chance(2, 0, 0)), Err(MseError::WeakKey)));
}
