//! Pieces on disk: layout to files, write, read, verify, resume.
