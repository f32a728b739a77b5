//! What a filter of half a million ranges costs: `cargo run --release -p ferri-filter --example lookups`.

#![allow(clippy::print_stdout)]

use std::fmt::Write;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use ferri_filter::{Builder, List};

const RANGES: u32 = 500_000;
const QUESTIONS: u32 = 4_000_000;

fn main() {
    // A multiplier that is prime to the number of addresses spreads them evenly and in no order.
    let v4 = |number: u32| Ipv4Addr::from(number.wrapping_mul(2_654_435_761));
    let v6 = |number: u32| Ipv6Addr::from(u128::from(number.wrapping_mul(2_654_435_761)) << 80);
    for family in ["IPv4", "IPv6", "IPv6 within networks"] {
        let mut text = String::new();
        for number in 0..RANGES {
            let line = match family {
                "IPv4" => writeln!(text, "words:{0}-{0}", v4(number)),
                "IPv6" => writeln!(text, "{}/48", v6(number)),
                _ => writeln!(text, "{}/120", v6(number)),
            };
            line.expect("a string takes all");
        }
        let start = Instant::now();
        let mut builder = Builder::default();
        let mut list = List::new(&mut builder);
        list.feed(text.as_bytes());
        list.finish().expect("a list");
        let filter = builder.build();
        let read = start.elapsed();
        let questions: Vec<IpAddr> = (0..QUESTIONS)
            .map(|number| number.wrapping_mul(747_796_405))
            .map(|number| if family == "IPv4" { v4(number).into() } else { v6(number).into() })
            .collect();
        let start = Instant::now();
        let blocked = questions.iter().filter(|address| filter.blocks(black_box(**address))).count();
        let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(QUESTIONS);
        println!(
            "{family}: {} ranges read in {read:.0?}, {:.1} MiB, {each:.0} ns a look-up, {blocked} of {QUESTIONS} blocked",
            filter.range_count(),
            filter.memory() as f64 / f64::from(1 << 20),
        );
    }
}
