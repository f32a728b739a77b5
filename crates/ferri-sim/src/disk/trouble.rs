//! What goes wrong with a disk on purpose, besides the power.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ferri_storage::{Fault, FaultPlan, Op};

/// `EIO`.
const BROKEN: Fault = Fault::Errno(5);

/// `EXDEV`.
const OTHER_FILE_SYSTEM: Fault = Fault::Errno(18);

/// Makes chosen operations of a disk fail.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble(Arc<Switches>);

#[derive(Debug, Default)]
struct Switches {
    /// Payload cannot be renamed, as if each folder were a file system of its own.
    is_apart: AtomicBool,
    /// Operations until one fails; 0: none does.
    left: AtomicU64,
    /// All fail from there on.
    is_lasting: AtomicBool,
}

impl Trouble {
    pub(super) fn plan(&self) -> FaultPlan {
        let switches = self.0.clone();
        FaultPlan::new(move |op, path, _| {
            let is_payload = !path.to_string_lossy().contains("/home/");
            if op == Op::Rename && is_payload && switches.is_apart.load(Ordering::Relaxed) {
                return Some(OTHER_FILE_SYSTEM);
            }
            let left = switches.left.load(Ordering::Relaxed);
            if 1 < left || (left == 1 && !switches.is_lasting.load(Ordering::Relaxed)) {
                switches.left.store(left - 1, Ordering::Relaxed);
            }
            (left == 1).then_some(BROKEN)
        })
    }

    pub(super) fn set(&self, is_apart: bool, left: u64, is_lasting: bool) {
        self.0.is_apart.store(is_apart, Ordering::Relaxed);
        self.0.is_lasting.store(is_lasting, Ordering::Relaxed);
        self.0.left.store(left, Ordering::Relaxed);
    }
}
