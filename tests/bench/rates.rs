//! Latency against rate: messages are published on a schedule, at shares of what the server gets through at most, and each
//! delivery is timed from the moment at which its message was due. So what a publisher had to wait counts as well.

use super::common::{Publisher, Server};
use super::curve::{Curve, Point};
use super::fan_out::full_speed;
use super::network::Network;
use super::publishing::PUBLISHERS;
use super::report::Run;
use super::subscribers::{Arrival, Subscribers};
use super::{ms, quantile, start, MESSAGE};
use std::time::{Duration, Instant};

/// Deliveries that are offered, as percent of the most that there were at full speed.
const PERCENTS: [u32; 8] = [10, 25, 50, 75, 90, 100, 110, 120];

/// For how long each rate is offered.
const TIME: Duration = Duration::from_secs(2);

/// A rate is offered for as long as it takes to publish this many messages: fewer say nothing about the slowest.
const FEWEST_MESSAGES: usize = 20;

pub fn over_loopback(run: &mut Run) {
    for count in [100, 1000, 5000] {
        let server = start();
        run.trace(measure("loopback", &server, count));
    }
}

pub fn over_network(run: &mut Run) {
    let network = match Network::new() {
        Ok(network) => network,
        Err(why) => return eprintln!("network: skipped, since {why}"),
    };
    for count in [100, 1000] {
        let server = network.start_server();
        run.trace(measure("10 Mbit/s and 20 ms", &server, count));
    }
}

fn measure(link: &'static str, server: &Server, count: usize) -> Curve {
    let subscribers = Subscribers::connect(server.addr, "bench", count);
    let most = full_speed(server, &subscribers);
    let points = PERCENTS.map(|percent| {
        let rate = most * f64::from(percent) / 100.0;
        let mut latencies = offer(server, &subscribers, rate / count as f64);
        let point = Point {
            percent,
            rate,
            latencies: [0.5, 0.99, 0.999].map(|share| quantile(&mut latencies, share)),
        };
        eprintln!("{count} over {link}: {point}");
        point
    });
    Curve {
        link,
        subscribers: count,
        points: points.into(),
    }
}

/// Publishes so many messages a second, and returns the time of each delivery in ms.
fn offer(server: &Server, subscribers: &Subscribers, rate: f64) -> Vec<f64> {
    let messages = ((TIME.as_secs_f64() * rate) as usize).max(FEWEST_MESSAGES);
    let first = subscribers.messages_complete();
    subscribers.record();
    let begun = Instant::now();
    // When each was due, in the order of their ids: that is the one in which they are delivered.
    let mut due: Vec<((u64, u64), Instant)> = std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|offset| {
                let numbers = (offset..messages).step_by(PUBLISHERS);
                scope.spawn(move || publish(server, begun, rate, numbers))
            })
            .collect();
        let published = publishers.into_iter().map(|publisher| publisher.join());
        published
            .flat_map(|due| due.expect("a publisher is served"))
            .collect()
    });
    due.sort_unstable();
    subscribers.wait_for_complete(first + messages);
    let arrivals = subscribers.recorded();
    let latencies = |arrival: &Arrival| {
        let due = &due[arrival.first - first..][..arrival.count];
        let at = arrival.at;
        due.iter()
            .map(move |&(_, due)| ms(at - due))
            .collect::<Vec<_>>()
    };
    arrivals.iter().flat_map(latencies).collect()
}

/// Publishes the messages with these numbers when they are due, and returns the id of each and when that was.
fn publish(
    server: &Server,
    begun: Instant,
    rate: f64,
    numbers: impl Iterator<Item = usize>,
) -> Vec<((u64, u64), Instant)> {
    let mut publisher = Publisher::new(server);
    numbers
        .map(|number| {
            let due = begun + Duration::from_secs_f64(number as f64 / rate);
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
            let id = publisher.publish("bench", MESSAGE);
            let (ms, sequence) = id.split_once('-').expect("an id has two parts");
            let number = |text: &str| text.parse().expect("they are numbers");
            ((number(ms), number(sequence)), due)
        })
        .collect()
}
