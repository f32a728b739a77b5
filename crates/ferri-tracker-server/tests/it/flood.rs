//! One address that wants everything for itself.

use std::time::Instant;

use ferri_tracker_server::{Options, TrackerServer};

use super::{Client, announce, who};

#[test]
fn half_sent_requests_of_one_address_keep_nobody_out() {
    let options = Options { workers: 1, connections_max: 64, ..Options::on("127.0.0.1:0") };
    let tracker = TrackerServer::start(options).unwrap();
    let mut kept = Client::from(tracker.addr(), who(3));
    assert_eq!(kept.get(&announce(1, 3, 1)).status, 200);
    let mut flood: Vec<Client> = Vec::new();
    for _ in 0..600 {
        // Once there is no room the oldest ones are closed.
        if let Ok(mut client) = Client::try_from(tracker.addr(), who(9)) {
            client.send("GET /announce?a HTTP/1.1\r\nX: ");
            flood.push(client);
        }
    }
    for last in 20..60 {
        let begin = Instant::now();
        let mut honest = Client::from(tracker.addr(), who(last));
        assert_eq!(honest.get(&announce(1, last, 1)).status, 200);
        assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
    }
    // A connection at rest of another network is none of those that make room.
    assert_eq!(kept.get(&announce(1, 3, 1)).status, 200);
    assert!(flood[0].is_at_end());
}

#[test]
fn when_all_have_one_connection_the_oldest_half_sent_request_makes_room() {
    let options = Options { workers: 1, connections_max: 16, ..Options::on("127.0.0.1:0") };
    let tracker = TrackerServer::start(options).unwrap();
    let mut half: Vec<Client> = (30..46).map(|last| Client::from(tracker.addr(), who(last))).collect();
    half.iter_mut().for_each(|client| client.send("GET /announ"));
    let mut newcomer = Client::from(tracker.addr(), who(60));
    assert_eq!(newcomer.get(&announce(1, 1, 1)).status, 200);
    assert!(half[0].is_at_end());
    half[15].send("ce HTTP/1.1\r\n\r\n");
    assert_eq!(half[15].answer().status, 200);
}
