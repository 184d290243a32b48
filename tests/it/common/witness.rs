//! A well-behaved subscriber and publisher next to whatever a test does to the server: 50 messages a second, each of
//! which has to arrive in order within a second.

use super::{EventStream, Publisher, Server};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PACE: Duration = Duration::from_millis(20);
const PROMISE: Duration = Duration::from_secs(1);

pub struct Witness {
    stop: Sender<()>,
    publisher: JoinHandle<Result<usize, String>>,
    subscriber: JoinHandle<Result<usize, String>>,
}

impl Witness {
    /// Starts both, on their own channel.
    pub fn start(server: &Server) -> Witness {
        let mut stream = server.subscribe("witness");
        let mut publisher = Publisher::new(server);
        let (stop, stopped) = channel();
        let origin = Instant::now();
        Witness {
            stop,
            publisher: std::thread::spawn(move || {
                publish(&mut publisher, origin, || stopped.recv_timeout(PACE))
            }),
            subscriber: std::thread::spawn(move || follow(&mut stream, origin)),
        }
    }

    /// Stops both, and reports what they have seen of the server.
    #[track_caller]
    pub fn testifies(self, beside: &str) {
        let _ = self.stop.send(());
        let published = self.publisher.join().expect("the publisher ends");
        let received = self.subscriber.join().expect("the subscriber ends");
        match (published, received) {
            (Ok(published), Ok(received)) => assert_eq!(
                published, received,
                "beside {beside}: {published} messages were published and {received} arrived"
            ),
            (Err(what), _) => panic!("beside {beside}: the publisher saw: {what}"),
            (_, Err(what)) => panic!("beside {beside}: the subscriber saw: {what}"),
        }
    }
}

fn publish(
    publisher: &mut Publisher,
    origin: Instant,
    wait: impl Fn() -> Result<(), RecvTimeoutError>,
) -> Result<usize, String> {
    let mut count = 0;
    while wait() == Err(RecvTimeoutError::Timeout) {
        let text = format!("{count} {}", origin.elapsed().as_millis());
        let begun = Instant::now();
        publisher.try_publish("witness", text)?;
        if begun.elapsed() > PROMISE {
            return Err(format!(
                "message {count} was answered after {:?}",
                begun.elapsed()
            ));
        }
        count += 1;
    }
    publisher.try_publish("witness", "end")?;
    Ok(count)
}

fn follow(stream: &mut EventStream, origin: Instant) -> Result<usize, String> {
    let mut count = 0;
    loop {
        let event = stream
            .try_next(super::BOUND)
            .ok_or_else(|| format!("nothing after message {count}"))?;
        if event.data == "end" {
            return Ok(count);
        }
        let now = origin.elapsed();
        let (number, sent) = event.data.split_once(' ').unwrap_or_default();
        if number != count.to_string() {
            return Err(format!("message {number} in the place of {count}"));
        }
        let sent = Duration::from_millis(sent.parse().unwrap_or(0));
        if now.saturating_sub(sent) > PROMISE {
            return Err(format!("message {count} took {:?}", now - sent));
        }
        count += 1;
    }
}

/// Whether a plain request is answered, and how fast.
pub fn answers(server: &Server) -> Duration {
    let begun = Instant::now();
    let reply = server.get("/health");
    assert_eq!(reply.status, 200, "/health answers");
    begun.elapsed()
}
