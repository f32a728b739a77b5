//! How fast streams are in a simulated network, as a table: `cargo run --release -p ferri-utp --example goodput`.

#![allow(missing_docs, clippy::print_stdout, unreachable_pub, dead_code)]

#[path = "../tests/it/measure.rs"]
mod measure;
#[path = "../tests/it/network.rs"]
mod network;
#[path = "../tests/it/stream.rs"]
mod stream;
#[path = "../tests/it/tcp.rs"]
mod tcp;

use std::time::Duration;

use measure::{FAST, Measured, Scenario, bottleneck, measure};

const ROUND_TRIP: Duration = Duration::from_millis(50);

fn main() {
    println!("one stream, 100 Mbit/s, 50 ms, 20 s");
    for (loss, queue) in [
        (0.0, 300),
        (0.0, 50),
        (0.0, 20),
        (0.0, 5),
        (0.001, 300),
        (0.01, 300),
        (0.05, 300),
        (0.001, 20),
        (0.01, 20),
    ] {
        let scenario = Scenario {
            link: bottleneck(FAST, ROUND_TRIP, Duration::from_millis(queue), loss),
            streams: vec![Duration::ZERO],
            tcp: None,
            from: Duration::ZERO,
            until: Duration::from_secs(20),
        };
        let runs = [1, 2, 3].map(|seed| measure(&scenario, seed));
        for measured in &runs {
            print!("{:6.1} % ", 100.0 * measured.streams[0] / FAST);
        }
        println!("{:4.1} % lost, queue of {queue:3} ms: {}", 100.0 * loss, words(&runs[0]));
    }
    println!("a stream beside TCP (Reno), 20 Mbit/s, 50 ms, 60 s; then TCP alone");
    for queue in [400, 200, 100, 50, 25, 10] {
        let scenario = |streams: &[u64]| Scenario {
            link: bottleneck(FAST / 5.0, ROUND_TRIP, Duration::from_millis(queue), 0.0),
            streams: streams.iter().map(|at| Duration::from_secs(*at)).collect(),
            tcp: Some(Duration::from_secs(5)),
            from: Duration::from_secs(20),
            until: Duration::from_secs(80),
        };
        let alone = measure(&scenario(&[]), 1);
        for streams in [&[0][..], &[10], &[0, 1, 2, 3]] {
            let beside = measure(&scenario(streams), 1);
            let sum: f64 = beside.streams.iter().sum();
            println!(
                "TCP {:5.1} % of alone ({:4.1} %), {} streams {:5.1} % of the link, queue of {queue:3} ms: {}",
                100.0 * beside.tcp / alone.tcp,
                500.0 * alone.tcp / FAST,
                streams.len(),
                500.0 * sum / FAST,
                words(&beside),
            );
        }
    }
    println!("streams beside each other, 20 Mbit/s, 50 ms, the next one 5 s later");
    for count in [2, 4, 8] {
        let scenario = Scenario {
            link: bottleneck(FAST / 5.0, ROUND_TRIP, Duration::from_millis(500), 0.0),
            streams: (0..count).map(|n| Duration::from_secs(5 * n)).collect(),
            tcp: None,
            from: Duration::from_secs(60),
            until: Duration::from_secs(120),
        };
        let measured = measure(&scenario, 1);
        let parts = measured.streams.iter().map(|rate| format!("{:.1}", 500.0 * rate / FAST));
        println!("{} %: {}", parts.collect::<Vec<_>>().join(" "), words(&measured));
    }
}

fn words(measured: &Measured) -> String {
    format!(
        "waited {} ms, at most {}; {:.1} datagrams a call",
        measured.waited.as_millis(),
        measured.waited_max.as_millis(),
        measured.run
    )
}
