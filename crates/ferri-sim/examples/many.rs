//! Runs many seeds and prints what broke.
fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let t = std::time::Instant::now();
    let mut bad = 0;
    for seed in args[0]..args[1] {
        let s = std::time::Instant::now();
        let mut s_ = ferri_sim::Scenario::random(seed);
        if args.len() > 2 {
            s_.stop_when_done = false;
            s_.limit = std::time::Duration::from_secs(args[2]);
        }
        let report = ferri_sim::run(&s_, seed);
        if !report.breaches.is_empty() {
            bad += 1;
            println!("{report}");
        }
        if s.elapsed().as_millis() > 300 {
            println!("slow {} {:?}", seed, s.elapsed());
            println!("{report}");
        }
    }
    println!("{bad} bad, {:?}", t.elapsed());
}
