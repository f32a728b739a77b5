//! The program: commands and what they print.

fn main() {}
