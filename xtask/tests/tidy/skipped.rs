//! No test is skipped in silence.

use super::report;
use super::tree::{all_rust_files, read, relative};

#[test]
fn no_test_is_skipped() {
    // Put together here so that this file passes its own test.
    let attribute = ["#[ig", "nore"].concat();
    let mut problems = Vec::new();
    for file in all_rust_files() {
        for (number, line) in read(&file).lines().enumerate() {
            if line.trim_start().starts_with(&attribute) {
                problems.push(format!(
                    "{}:{}: a test that cannot run here fails, and says which command makes it run",
                    relative(&file),
                    number + 1
                ));
            }
        }
    }
    report("skipped tests", &problems);
}
