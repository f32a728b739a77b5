//! Compression functions that work on several messages at once, and which of them is the fastest for how many.
//!
//! The lanes of a kernel run in step, so that a run takes as long with one of them in use as with all. Which kernel is
//! best is therefore a matter of how many messages wait, and of the processor: it is measured once, at the first use.
//! Callers of this crate need none of this; it is public for those who measure and compare.

#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
mod x86;

use std::fmt;
use std::sync::OnceLock;

/// What a compression function takes in one step (FIPS 180-4, section 5.2.1).
pub type Block = [u8; 64];

/// The lanes of the widest kernel.
pub const LANES_MAX: usize = 16;

/// A message that is being hashed.
#[derive(Debug)]
pub struct Lane<'a, const WORDS: usize> {
    /// Its chaining value.
    pub state: &'a mut [u32; WORDS],
    /// Its next blocks.
    pub blocks: &'a [Block],
}

/// A way to compute one of the hash functions. Those with 5 words of state compute SHA-1, those with 8 SHA-256.
#[derive(Clone, Copy)]
pub struct Kernel<const WORDS: usize> {
    name: &'static str,
    lanes: usize,
    /// Advances up to `lanes` lanes, at least one, by as many blocks as the number says; each has that many.
    ///
    /// Unsafe because it may take instructions that not every processor has. A kernel is listed only where they are.
    run: unsafe fn(&mut [Lane<'_, WORDS>], usize),
}

impl<const WORDS: usize> Kernel<WORDS> {
    /// The instructions it is made of.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many messages it can take, 1 to [`LANES_MAX`].
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Puts the next `count` blocks of each lane through the compression function, and takes them off its blocks.
    ///
    /// # Panics
    /// When there are more lanes than the kernel has or none, or a lane has fewer blocks.
    pub fn compress(&self, lanes: &mut [Lane<'_, WORDS>], count: usize) {
        assert!((1..=self.lanes).contains(&lanes.len()), "{} lanes for {self:?}", lanes.len());
        assert!(lanes.iter().all(|lane| count <= lane.blocks.len()), "each lane has {count} blocks");
        #[allow(unsafe_code)]
        // SAFETY: `portable` needs no special instruction, and `x86` lists a kernel only if the processor has those
        // that it is made of. That is all that `run` wants for memory to be safe.
        unsafe {
            (self.run)(lanes, count);
        }
        lanes.iter_mut().for_each(|lane| lane.blocks = &lane.blocks[count..]);
    }
}

impl<const WORDS: usize> fmt::Debug for Kernel<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x{}", self.name, self.lanes)
    }
}

/// The kernels for SHA-1 that this processor can run, RustCrypto's first.
#[must_use]
pub fn sha1() -> Vec<Kernel<5>> {
    let run = |lanes: &mut [Lane<'_, 5>], count| one_by_one(SHA1.compress, lanes, count);
    let portable = Kernel { name: "RustCrypto", lanes: 1, run };
    [portable].into_iter().chain(special::sha1()).collect()
}

/// The kernels for SHA-256 that this processor can run, RustCrypto's first.
#[must_use]
pub fn sha256() -> Vec<Kernel<8>> {
    let run = |lanes: &mut [Lane<'_, 8>], count| one_by_one(SHA256.compress, lanes, count);
    let portable = Kernel { name: "RustCrypto", lanes: 1, run };
    [portable].into_iter().chain(special::sha256()).collect()
}

fn one_by_one<const WORDS: usize>(
    compress: fn(&mut [u32; WORDS], &[Block]),
    lanes: &mut [Lane<'_, WORDS>],
    count: usize,
) {
    lanes.iter_mut().for_each(|lane| compress(lane.state, &lane.blocks[..count]));
}

/// A hash function whose state has `WORDS` words.
pub(crate) struct Function<const WORDS: usize> {
    /// The chaining value before the first block.
    pub(crate) initial: [u32; WORDS],
    /// For a single message.
    pub(crate) compress: fn(&mut [u32; WORDS], &[Block]),
    pub(crate) kernels: fn() -> Vec<Kernel<WORDS>>,
    /// The best kernel for each number of messages that wait, beginning with 1.
    pub(crate) choice: OnceLock<[Kernel<WORDS>; LANES_MAX]>,
}

/// FIPS 180-4, sections 5.3.1 and 6.1.
pub(crate) static SHA1: Function<5> = Function {
    initial: [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0],
    compress: ::sha1::block_api::compress,
    kernels: sha1,
    choice: OnceLock::new(),
};

/// FIPS 180-4, sections 5.3.3 and 6.2.
#[rustfmt::skip]
pub(crate) static SHA256: Function<8> = Function {
    initial: [
        0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
    ],
    compress: ::sha2::block_api::compress256,
    kernels: sha256,
    choice: OnceLock::new(),
};

impl<const WORDS: usize> Function<WORDS> {
    /// The kernel to use while `waiting` messages wait, at least one.
    pub(crate) fn kernel(&self, waiting: usize) -> &Kernel<WORDS> {
        let choice = self.choice.get_or_init(|| {
            let costs: Vec<_> =
                (self.kernels)().into_iter().map(|kernel| (kernel, cost(&kernel, self.initial))).collect();
            choose(&costs)
        });
        &choice[waiting.min(LANES_MAX) - 1]
    }
}

/// For each number of messages the kernel that gets most of them done in the time of its step.
fn choose<const WORDS: usize>(costs: &[(Kernel<WORDS>, u64)]) -> [Kernel<WORDS>; LANES_MAX] {
    std::array::from_fn(|at| {
        let done = |kernel: &Kernel<WORDS>| kernel.lanes.min(at + 1) as u64;
        let best = costs.iter().max_by(|(a, a_cost), (b, b_cost)| {
            // a / a_cost compared with b / b_cost.
            (done(a) * b_cost).cmp(&(done(b) * a_cost))
        });
        best.expect("there is always RustCrypto").0
    })
}

/// Blocks in a measurement, shared by the lanes, so that what every call costs weighs the same for all kernels.
const PROBE_BLOCKS: usize = 256;

/// Measurements a kernel, the best of which counts. The whole choice takes some 200 µs.
const PROBE_ROUNDS: usize = 8;

/// How long a step of one block in every lane takes, in parts of a cycle that are the same for all kernels.
fn cost<const WORDS: usize>(kernel: &Kernel<WORDS>, initial: [u32; WORDS]) -> u64 {
    let blocks = [[0; size_of::<Block>()]; PROBE_BLOCKS];
    let count = PROBE_BLOCKS / kernel.lanes;
    let mut states = [initial; LANES_MAX];
    let round = |_| {
        let lane = |state| Lane { state, blocks: &blocks };
        let mut lanes: Vec<_> = states.iter_mut().take(kernel.lanes).map(lane).collect();
        let begun = special::cycles();
        kernel.compress(&mut lanes, count);
        special::cycles().saturating_sub(begun)
    };
    (0..PROBE_ROUNDS).map(round).min().unwrap_or_default() * PROBE_BLOCKS as u64 / count as u64
}

#[cfg(all(target_arch = "x86_64", not(feature = "portable")))]
use x86 as special;

/// No kernels of our own, and so nothing to measure.
#[cfg(not(all(target_arch = "x86_64", not(feature = "portable"))))]
mod special {
    use super::Kernel;

    pub(super) fn sha1() -> Vec<Kernel<5>> {
        Vec::new()
    }

    pub(super) fn sha256() -> Vec<Kernel<8>> {
        Vec::new()
    }

    pub(super) fn cycles() -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_goes_by_what_is_done_in_the_time() {
        let kernel = |lanes| Kernel { lanes, ..sha1()[0] };
        // The narrow ones are quick, but the widest does more in the end.
        let choice = choose(&[(kernel(1), 100), (kernel(2), 110), (kernel(16), 400)]);
        let lanes = choice.map(|kernel| kernel.lanes());
        assert_eq!(lanes, [1, 2, 2, 2, 2, 2, 2, 16, 16, 16, 16, 16, 16, 16, 16, 16]);
    }
}
