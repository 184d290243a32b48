//! What a message costs a flash card: the bytes that the server has written for each, at two paces, and for how long a card
//! lasts so.

use super::common::{number_in, Folder, Publisher, Server};
use super::report::{Figure, Run};
use std::time::{Duration, Instant};

/// Long enough for a minute's worth of commits, and for what happens now and then.
const WATCHED: Duration = Duration::from_secs(60);

/// Before that: what is retained is as many as later, and each message takes the place of another.
const RETAINED: usize = 100;

/// What a card may take before it is worn out: 100 TB.
const CARD_BYTES: f64 = 100e12;

/// All at the same time, each with a server of its own, so that they take one minute together.
pub fn measure(run: &mut Run) {
    let cases = [(1, "always"), (1, "1s"), (100, "always"), (100, "1s")];
    let written = std::thread::scope(|scope| {
        let running = cases
            .map(|(a_second, sync)| scope.spawn(move || written_for_a_message(a_second, sync)));
        running.map(|thread| thread.join().expect("it measures"))
    });
    for ((a_second, sync), bytes) in cases.into_iter().zip(written) {
        let years = CARD_BYTES / (bytes * f64::from(a_second)) / (365.25 * 24.0 * 3600.0);
        let at = format!("at {a_second} messages/s, SYNC={sync}");
        run.add(Figure::less(
            format!("KB written for a message {at}"),
            0,
            bytes / 1000.0,
        ));
        run.add(Figure::more(
            format!("years of a card of 100 TB written {at}"),
            0,
            years,
        ));
    }
}

fn written_for_a_message(a_second: u32, sync: &str) -> f64 {
    let folder = Folder::new(&format!("bench-disk-{a_second}-{sync}"));
    let path = folder.0.to_string_lossy().into_owned();
    let server =
        Server::start_quietly(&[("RUST_LOG", "warn"), ("DATA_DIR", &path), ("SYNC", sync)]);
    let mut publisher = Publisher::new(&server);
    let mut publish = || publisher.publish("bench", [b'x'; 200]);
    for _ in 0..RETAINED {
        publish();
    }
    let io = format!("/proc/{}/io", server.pid());
    // In memory nothing is written, and nothing measured.
    let written = || number_in(&io, "write_bytes:").expect("Linux tells it");
    let (begun, before) = (Instant::now(), written());
    let messages = WATCHED.as_secs() as u32 * a_second;
    for number in 1..=messages {
        publish();
        super::rest::wait_until(begun + WATCHED * number / messages);
    }
    (written() - before) as f64 / f64::from(messages)
}
