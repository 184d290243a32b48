//! Publishing with nobody there: single messages, batches, beside other channels, and each on a connection of its own.

use super::common::{Publisher, Server, TOKEN};
use super::report::{self, Figure, Run};
use super::{micros, start, MESSAGE};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Publishers at once.
pub const PUBLISHERS: usize = 4;

/// And of those who connect for each message.
const SHORT_PUBLISHERS: usize = 8;

/// How long anything is measured at full speed.
pub const FULL_SPEED_TIME: Duration = Duration::from_secs(3);

/// Messages in one batch publish.
pub const BATCH: usize = 200;

/// Channels beside the one that is published to: none, few and many.
const OTHER_CHANNELS: [usize; 3] = [0, 10, 10_000];

pub fn measure(run: &mut Run) {
    for channels in OTHER_CHANNELS {
        let server = Server::start_quietly(&[("RUST_LOG", "warn"), ("MAX_CHANNELS", "10001")]);
        let mut publisher = Publisher::new(&server);
        for number in 0..channels {
            publisher.publish(&format!("other-{number}"), MESSAGE);
        }
        let (rate, cpu) = single_messages(&server, PUBLISHERS, |_| "bench".into());
        let beside = format!("beside {channels} channels");
        run.add(Figure::more(
            format!("publish requests/s {beside}"),
            0,
            rate,
        ));
        run.add(Figure::less(
            format!("server CPU per publish {beside}, us"),
            0,
            cpu,
        ));
    }
    let server = start();
    run.add(Figure::more("batch messages/s", 0, batches(&[&server])));
    run.add(Figure::more(
        "short connections/s, 8 at a time",
        0,
        short_connections(&server),
    ));
    let log = File::create(report::folder().join("server.log")).expect("a file can be made");
    let chatty = Server::start_unheard(&[], log.into());
    let (with_log, _) = single_messages(&chatty, PUBLISHERS, |_| "bench".into());
    run.add(Figure::more(
        "publish requests/s with RUST_LOG=info",
        0,
        with_log,
    ));
}

/// Requests a second, and the server's CPU for each in microseconds. `channel` tells where each message goes.
pub fn single_messages(
    server: &Server,
    publishers: usize,
    channel: impl Fn(usize) -> String + Sync,
) -> (f64, f64) {
    let count = AtomicUsize::new(0);
    let before = server.cpu_time();
    let rate = at_full_speed(publishers, |_| {
        let mut publisher = Publisher::new(server);
        let (count, channel) = (&count, &channel);
        move || {
            let number = count.fetch_add(1, Ordering::Relaxed);
            publisher.publish(&channel(number), MESSAGE);
            1
        }
    });
    let cpu = server.cpu_time() - before;
    (rate, micros(cpu) / count.into_inner() as f64)
}

/// Messages a second in batches, by publishers that take turns with the servers.
pub fn batches(servers: &[&Server]) -> f64 {
    let body = format!("\"{}\"\n", "x".repeat(MESSAGE.len())).repeat(BATCH);
    at_full_speed(PUBLISHERS, |number| {
        let mut publisher = Publisher::new(servers[number % servers.len()]);
        let body = &body;
        move || {
            publisher.publish_batch("bench", body);
            BATCH
        }
    })
}

/// Messages a second with a connection for each.
fn short_connections(server: &Server) -> f64 {
    let message = "x".repeat(MESSAGE.len());
    let request = format!(
        "POST /publish?canal=bench HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {TOKEN}\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{message}",
        message.len()
    );
    at_full_speed(SHORT_PUBLISHERS, |_| {
        let request = &request;
        move || {
            let mut connection = server.connect();
            connection
                .write_all(request.as_bytes())
                .expect("the request is sent");
            let mut answer = Vec::new();
            connection
                .read_to_end(&mut answer)
                .expect("the answer has an end");
            assert!(
                answer.starts_with(b"HTTP/1.1 20"),
                "a publisher is answered: {:?}",
                String::from_utf8_lossy(&answer)
            );
            1
        }
    })
}

/// Messages a second that several publishers get through. Each is made of its number, and tells how many it published.
fn at_full_speed<P: FnMut() -> usize>(publishers: usize, make: impl Fn(usize) -> P + Sync) -> f64 {
    let count = AtomicUsize::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..publishers {
            let (count, make) = (&count, &make);
            scope.spawn(move || {
                let mut publish = make(number);
                while begun.elapsed() < FULL_SPEED_TIME {
                    count.fetch_add(publish(), Ordering::Relaxed);
                }
            });
        }
    });
    count.into_inner() as f64 / begun.elapsed().as_secs_f64()
}
