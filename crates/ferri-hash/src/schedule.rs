//! Which messages are hashed side by side: any number of messages of any lengths on the lanes of the kernels.

use crate::kernels::{Block, Function, LANES_MAX, Lane};

/// Blocks of one message to go through the compression function, the second part after the first.
pub(crate) struct Job<'a, const WORDS: usize> {
    pub(crate) state: &'a mut [u32; WORDS],
    pub(crate) parts: [&'a [Block]; 2],
}

impl<const WORDS: usize> Job<'_, WORDS> {
    fn block_count(&self) -> usize {
        self.parts[0].len() + self.parts[1].len()
    }
}

/// Does all jobs. The longest begin first, and a lane whose job is done takes the next one, so that few lanes are idle
/// before the end; what is left then goes to narrower kernels.
pub(crate) fn compress_all<'a, const WORDS: usize>(
    function: &Function<WORDS>,
    jobs: impl Iterator<Item = Job<'a, WORDS>>,
) {
    let mut jobs: Vec<_> = jobs.filter(|job| job.block_count() != 0).collect();
    jobs.sort_by_key(Job::block_count);
    let mut lanes: Vec<Lane<'_, WORDS>> = Vec::with_capacity(LANES_MAX);
    // By lane, what comes after its blocks.
    let mut later: Vec<&[Block]> = Vec::with_capacity(LANES_MAX);
    loop {
        while lanes.len() < LANES_MAX
            && let Some(Job { state, parts: [first, second] }) = jobs.pop()
        {
            lanes.push(Lane { state, blocks: first });
            later.push(second);
        }
        next_parts(&mut lanes, &mut later);
        if lanes.is_empty() {
            return;
        }
        let kernel = function.kernel(lanes.len());
        let used = lanes.len().min(kernel.lanes());
        let in_step = &mut lanes[..used];
        let count = in_step.iter().map(|lane| lane.blocks.len()).min().unwrap_or_default();
        kernel.compress(in_step, count);
        next_parts(&mut lanes, &mut later);
    }
}

/// Lanes at the end of their first part go on with the second; those at the end of both are gone.
fn next_parts<'a, const WORDS: usize>(lanes: &mut Vec<Lane<'a, WORDS>>, later: &mut Vec<&'a [Block]>) {
    for at in (0..lanes.len()).rev() {
        if lanes[at].blocks.is_empty() {
            lanes[at].blocks = std::mem::take(&mut later[at]);
        }
        if lanes[at].blocks.is_empty() {
            lanes.swap_remove(at);
            later.swap_remove(at);
        }
    }
}
