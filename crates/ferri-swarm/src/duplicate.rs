//! Two connections to one peer.

use std::time::Duration;

use crate::input::Direction;

/// Two peers that dial each other at the same time have two connections; this long after, it is not that.
const SIMULTANEOUS: Duration = Duration::from_secs(30);

/// Whether the newer of two connections to the same peer takes the place of the older one, which is `age` old. Both ends
/// have to keep the same of two that were opened at the same time: the one opened by the greater peer id.
pub(crate) fn keeps_newer(ours_is_greater: bool, older: Direction, age: Duration, newer: Direction) -> bool {
    let kept = if ours_is_greater { Direction::Outgoing } else { Direction::Incoming };
    older != newer && newer == kept && age < SIMULTANEOUS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_keep_the_same_connection() {
        let (short, long) = (Duration::from_secs(1), SIMULTANEOUS);
        for (older, newer) in
            [(Direction::Incoming, Direction::Outgoing), (Direction::Outgoing, Direction::Incoming)]
        {
            // What one end opened comes in at the other.
            assert_ne!(keeps_newer(true, older, short, newer), keeps_newer(false, older, short, newer));
            assert_eq!(keeps_newer(true, older, short, newer), keeps_newer(false, newer, short, older));
            assert!(!keeps_newer(true, older, long, newer) && !keeps_newer(false, older, long, newer));
            assert!(!keeps_newer(true, older, short, older));
        }
    }
}
