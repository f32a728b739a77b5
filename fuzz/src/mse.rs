//! Two sides of a key exchange, and what a stranger on the way makes of their bytes.

use ferri_metainfo::InfoHash;
use ferri_wire::mse::{
    CHANCE_LEN, Chance, Dialer, Encryption, Established, Listener, MseError, PAD_MAX, PUBLIC_KEY_LEN, Step,
    torrent_digest,
};

use crate::script::Script;

const TORRENT: [u8; 20] = *b"a torrent of 20 byte";
const WISHES: [Encryption; 4] =
    [Encryption::Disable, Encryption::Allow, Encryption::Prefer, Encryption::Require];

/// A script of wishes, paddings, an initial payload, cuts, and changes to what is on its way. An exchange that is not changed
/// fails only where the wishes do not meet. However its bytes are changed and cut, it ends with the same verdict, no side
/// keeps more than an exchange can have, and what is established is one of the ways that were offered.
pub fn mse(data: &[u8]) {
    let mut script = Script::new(data);
    let options = script.u8();
    let exchange = Exchange {
        wishes: [WISHES[usize::from(options & 3)], WISHES[usize::from(options >> 2 & 3)]],
        is_known: options & 0x10 == 0,
        random: [random(&mut script), random(&mut script)],
        initial: script.short(),
        cut: 1 + usize::from(script.u8()),
        changes: std::iter::from_fn(|| (!script.is_empty()).then(|| Change::read(&mut script)))
            .take(4)
            .collect(),
    };
    let verdict = exchange.run(exchange.cut);
    if options & 0x20 != 0 {
        assert_eq!(exchange.run(usize::MAX), verdict, "cuts change the verdict");
    }
    if exchange.changes.is_empty() {
        exchange.check(&verdict);
    }
}

fn random(script: &mut Script<'_>) -> [u8; CHANCE_LEN] {
    // An exponent of 0 does not come by chance.
    let mut random = [script.u8() | 2; CHANCE_LEN];
    random[20..24].copy_from_slice(&script.bytes::<4>());
    random
}

struct Exchange<'a> {
    wishes: [Encryption; 2],
    is_known: bool,
    random: [[u8; CHANCE_LEN]; 2],
    initial: &'a [u8],
    cut: usize,
    changes: Vec<Change<'a>>,
}

/// What happens to one of the four flights of an exchange.
struct Change<'a> {
    flight: u8,
    at: usize,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Flip(u8),
    Insert(&'a [u8]),
    Replace(&'a [u8]),
    End,
}

impl<'a> Change<'a> {
    fn read(script: &mut Script<'a>) -> Self {
        let (flight, kind) = (script.u8() & 3, script.u8() & 3);
        let at = usize::from(script.u16());
        let kind = match kind {
            0 => Kind::Flip(script.u8()),
            1 => Kind::Insert(script.short()),
            2 => Kind::Replace(script.short()),
            _ => Kind::End,
        };
        Self { flight, at, kind }
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = self.at.min(bytes.len());
        match self.kind {
            Kind::Flip(bits) => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= bits),
            Kind::Insert(more) => drop(bytes.splice(at..at, more.iter().copied())),
            Kind::Replace(other) => {
                bytes.truncate(at);
                bytes.extend_from_slice(other);
            }
            Kind::End => bytes.truncate(at),
        }
    }
}

/// What both sides came to.
type Verdict = [Result<Option<(bool, Vec<u8>)>, MseError>; 2];

impl Exchange<'_> {
    fn run(&self, cut: usize) -> Verdict {
        let [dials, hears] = &self.random;
        let mut dialer = Dialer::new(self.wishes[0], TORRENT.into(), self.initial, Chance::new(dials));
        let request = self.on_the_way(0, dialer.output());
        let Some((key, padding)) = request.split_first_chunk::<PUBLIC_KEY_LEN>() else {
            return [Ok(None), Ok(None)];
        };
        let mut listener = match Listener::new(self.wishes[1], key, Chance::new(hears)) {
            Ok(listener) => listener,
            Err(error) => return [Ok(None), Err(error)],
        };
        let answer = self.on_the_way(1, listener.output());
        let mut of_dialer = feed_dialer(&mut dialer, &answer, cut);
        let request = [padding, &self.on_the_way(2, dialer.output())].concat();
        let of_listener = self.feed_listener(&mut listener, &request, cut);
        if let Ok(None) = of_dialer {
            let answer = self.on_the_way(3, listener.output());
            of_dialer = feed_dialer(&mut dialer, &answer, cut);
        }
        [of_dialer, of_listener].map(|end| end.map(|established| established.map(told)))
    }

    fn on_the_way(&self, flight: u8, mut bytes: Vec<u8>) -> Vec<u8> {
        self.changes
            .iter()
            .filter(|change| change.flight == flight)
            .for_each(|change| change.apply(&mut bytes));
        bytes
    }

    /// Without changes.
    fn check(&self, [of_dialer, of_listener]: &Verdict) {
        match (of_dialer, of_listener) {
            (Ok(Some((dials, _))), Ok(Some((hears, initial)))) => {
                assert!(self.is_known);
                assert_eq!(dials, hears, "they differ in whether they encrypt");
                assert_eq!(initial, self.initial);
            }
            (Ok(None), Err(MseError::UnknownTorrent)) => assert!(!self.is_known),
            (Ok(None), Err(MseError::NoMethod(_))) => assert!(self.wishes.contains(&Encryption::Disable)),
            other => panic!("an exchange of two honest sides ends with {other:?}"),
        }
    }

    fn feed_listener(
        &self,
        listener: &mut Listener,
        bytes: &[u8],
        cut: usize,
    ) -> Result<Option<Established>, MseError> {
        let mut fed = 0;
        for part in bytes.chunks(cut) {
            let mut step = listener.handle(part)?;
            if let Step::Torrent(digest) = step {
                let is_known = self.is_known && digest == torrent_digest(&TORRENT.into());
                step = listener.torrent(is_known.then(|| InfoHash::from(TORRENT)).as_ref())?;
            }
            fed += part.len();
            match step {
                Step::Established(mut established) => {
                    end(&mut established, &bytes[fed..]);
                    return Ok(Some(established));
                }
                Step::More => assert!(fed < LISTENER_MAX, "{fed} bytes and no verdict"),
                Step::Torrent(_) => panic!("it was told the torrent"),
            }
        }
        Ok(None)
    }
}

/// A listener has its verdict after as many bytes: paddings, hashes, what is offered, the initial payload.
const LISTENER_MAX: usize = PAD_MAX + 20 + 20 + 14 + PAD_MAX + 2 + 65_535;
/// And a dialer: the key, paddings, what was chosen.
const DIALER_MAX: usize = PUBLIC_KEY_LEN + PAD_MAX + 14 + PAD_MAX;

fn feed_dialer(dialer: &mut Dialer, bytes: &[u8], cut: usize) -> Result<Option<Established>, MseError> {
    let mut fed = 0;
    for part in bytes.chunks(cut) {
        let established = dialer.handle(part)?;
        fed += part.len();
        if let Some(mut established) = established {
            end(&mut established, &bytes[fed..]);
            return Ok(Some(established));
        }
        assert!(fed < DIALER_MAX, "{fed} bytes and no verdict");
    }
    Ok(None)
}

/// What follows the exchange is of the same stream.
fn end(established: &mut Established, rest: &[u8]) {
    let mut rest = rest.to_vec();
    if let Some(ciphers) = &mut established.ciphers {
        ciphers.opens.apply(&mut rest);
    }
    established.received.extend(rest);
}

fn told(established: Established) -> (bool, Vec<u8>) {
    (established.ciphers.is_some(), established.received)
}
