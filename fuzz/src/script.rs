//! Reads decisions from the bytes of a fuzzer: numbers, choices, slices. At the end it gives zeros.

use std::time::Instant;

/// What is left of the input.
#[derive(Debug)]
pub struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    /// Starts at the front of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        self.bytes::<1>()[0]
    }

    /// The next two bytes as a number, big-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes())
    }

    /// The next four bytes as a number, big-endian.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// A number below `end` (0 when that is 0), from one or two bytes.
    pub fn below(&mut self, end: usize) -> usize {
        let number = if end <= 256 { usize::from(self.u8()) } else { usize::from(self.u16()) };
        number.checked_rem(end).unwrap_or(0)
    }

    /// The next `N` bytes, filled up with zeros.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.slice(N);
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// The next `length` bytes, or what there is.
    pub fn slice(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// As many bytes as the next byte says.
    pub fn short(&mut self) -> &'a [u8] {
        let length = usize::from(self.u8());
        self.slice(length)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }
}

/// A machine in its world, which lives in virtual time.
pub(crate) trait Sleeper {
    /// So many wakes at one moment are fine.
    const WAKES_MAX: usize;

    /// The world's clock.
    fn clock(&mut self) -> &mut Instant;

    /// When the machine wants to be woken.
    fn due(&self) -> Option<Instant>;

    /// Tells the machine that time has passed.
    fn wake(&mut self);

    /// Lets time pass until the machine wants to be woken. It must not want that at once, over and over.
    fn sleep(&mut self) {
        for _ in 0..Self::WAKES_MAX {
            let Some(at) = self.due() else { return };
            let now = self.clock();
            let waited = *now < at;
            *now = at.max(*now);
            self.wake();
            if waited {
                return;
            }
        }
        panic!("it wants to be woken again and again");
    }
}
