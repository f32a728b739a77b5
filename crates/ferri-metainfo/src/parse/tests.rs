//! What is taken and what is refused, with torrents built on the spot.
