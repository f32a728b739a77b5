//! What time it is: the runtime's clock, which a test may stop and move.

use std::time::Instant;

/// This moment.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
