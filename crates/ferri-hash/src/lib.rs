//! SHA-1 and SHA-256, one stream or many inputs at once, and Merkle trees.
