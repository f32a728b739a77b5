//! Any text as a trace, which people send each other.

use std::time::Instant;

use ferri_trace::Replay;

/// It is refused or replayed.
pub fn trace(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut replay = Replay::new(Instant::now());
    for (number, line) in (1..).zip(text.lines()) {
        let fed = replay.feed(line);
        assert_eq!(replay.lines(), number);
        if let Err(error) = fed {
            assert!(!error.to_string().is_empty());
            return;
        }
    }
}
