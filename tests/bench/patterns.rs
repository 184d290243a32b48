//! What patterns cost a publish: 10,000 channels and 1,000 clients, each of which follows ten of the channels, by their names
//! or by a pattern. Both servers run beside each other, and are measured by turns.

use super::common::{Publisher, Server};
use super::publishing::{single_messages, PUBLISHERS};
use super::report::{Figure, Run};
use super::subscribers::Subscribers;
use super::{quantile, MESSAGE};

const CLIENTS: usize = 1000;
const CHANNELS_OF_EACH: usize = 10;
const ROUNDS: usize = 5;

/// How the clients follow, and what the figures are called.
struct Way {
    channels: fn(usize) -> String,
    to_nobody: [&'static str; 2],
    to_one: [&'static str; 2],
}

const WAYS: [Way; 2] = [
    Way {
        channels: by_names,
        to_nobody: [
            "publish requests/s beside 1,000 clients by name",
            "server CPU per publish beside them, us",
        ],
        to_one: [
            "publish requests/s to one of 1,000 by name",
            "server CPU per publish to one by name, us",
        ],
    },
    Way {
        channels: by_pattern,
        to_nobody: [
            "publish requests/s beside 1,000 clients by pattern",
            "server CPU per publish beside those, us",
        ],
        to_one: [
            "publish requests/s to one of 1,000 by pattern",
            "server CPU per publish to one by pattern, us",
        ],
    },
];

fn by_names(client: usize) -> String {
    let names: Vec<String> = (0..CHANNELS_OF_EACH)
        .map(|number| channel(client, number))
        .collect();
    names.join(",")
}

fn by_pattern(client: usize) -> String {
    format!("room-{client}-*")
}

fn channel(client: usize, number: usize) -> String {
    format!("room-{client}-{number}")
}

pub fn measure(run: &mut Run) {
    let servers = WAYS.map(|way| {
        // As many channels as there may be by default, and the one that nobody follows.
        let variables = [("RUST_LOG", "warn"), ("MAX_CHANNELS", "10001")];
        let server = Server::start_quietly(&variables);
        let subscribers = Subscribers::connect_each(server.addr, CLIENTS, way.channels);
        let mut publisher = Publisher::new(&server);
        for client in 0..CLIENTS {
            (0..CHANNELS_OF_EACH).for_each(|number| {
                publisher.publish(&channel(client, number), MESSAGE);
            });
        }
        // They end before the server does.
        (way, subscribers, server)
    });
    // For each way: to nobody and to one, requests a second and CPU.
    let mut values: [[[Vec<f64>; 2]; 2]; 2] = Default::default();
    for _ in 0..ROUNDS {
        for ((.., server), values) in servers.iter().zip(&mut values) {
            let [to_nobody, to_one] = values;
            note(to_nobody, server, |_| "bench".into());
            note(to_one, server, |number| {
                channel(number % CLIENTS, number / CLIENTS % CHANNELS_OF_EACH)
            });
        }
    }
    for ((way, ..), values) in servers.iter().zip(values) {
        for (names, [mut rate, mut cpu]) in [way.to_nobody, way.to_one].into_iter().zip(values) {
            run.add(Figure::more(names[0], CLIENTS, quantile(&mut rate, 0.5)));
            run.add(Figure::less(names[1], CLIENTS, quantile(&mut cpu, 0.5)));
        }
    }
}

fn note([rates, cpus]: &mut [Vec<f64>; 2], server: &Server, to: impl Fn(usize) -> String + Sync) {
    let (rate, cpu) = single_messages(server, PUBLISHERS, to);
    rates.push(rate);
    cpus.push(cpu);
}
