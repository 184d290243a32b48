//! What streams cost while nothing happens: memory for each, the server's and the kernel's, and the processor.

use super::common::{number_in, Publisher, Server};
use super::report::{Figure, Run};
use super::subscribers::Subscribers;
use super::{start, MESSAGE};
use std::time::{Duration, Instant};

const STREAMS: usize = 5000;

/// After this time everything has come to rest that follows from connecting.
const REST: Duration = Duration::from_secs(20);

/// Messages to everybody, one after the other.
const TRAFFIC: usize = 100;

/// And after this time what follows from them.
const SETTLE: Duration = Duration::from_secs(5);

/// For how long the processor is watched: a heartbeat of each stream.
const WATCHED: Duration = Duration::from_secs(15);

/// Memory for each stream as it connected, after a while, and after traffic.
pub fn memory(run: &mut Run) {
    let server = start();
    let before = Memory::now(&server);
    let subscribers = Subscribers::connect(server.addr, "bench", STREAMS);
    let mut note = |when: &str| {
        let now = Memory::now(&server);
        let each = |now: u64, before: u64| now.saturating_sub(before) as f64 / STREAMS as f64;
        run.add(Figure::less(
            format!("memory per stream {when}, KiB"),
            STREAMS,
            each(now.server, before.server),
        ));
        run.add(Figure::less(
            format!("kernel's memory per stream, both ends, {when}, KiB"),
            STREAMS,
            each(now.kernel, before.kernel),
        ));
    };
    note("as connected");
    wait(REST);
    note("after 20 s");
    let mut publisher = Publisher::new(&server);
    for _ in 0..TRAFFIC {
        publisher.publish("bench", MESSAGE);
        subscribers.wait_for_last();
    }
    wait(SETTLE);
    note("after traffic");
}

/// In KiB.
struct Memory {
    /// Of which shared pages count in part (PSS).
    server: u64,
    /// Of all processes.
    kernel: u64,
}

impl Memory {
    fn now(server: &Server) -> Memory {
        let of_server = format!("/proc/{}/smaps_rollup", server.pid());
        let kernels = ["Slab:", "KernelStack:", "PageTables:"];
        Memory {
            server: number_in(&of_server, "Pss:").expect("the server runs"),
            kernel: kernels
                .map(|name| number_in("/proc/meminfo", name).expect("Linux has it"))
                .iter()
                .sum(),
        }
    }
}

/// The processor's time of a server that has nothing to do, and how often its threads wake.
pub fn processor(run: &mut Run) {
    for count in [0, 10_000] {
        let server = start();
        let _subscribers = (count > 0).then(|| Subscribers::connect(server.addr, "bench", count));
        wait(REST);
        let (cpu, wakes, begun) = (server.cpu_time(), wakes(&server), Instant::now());
        wait(WATCHED);
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = server.cpu_time() - cpu;
        run.add(Figure::less(
            "CPU of an idle server, % of a core",
            count,
            cpu.as_secs_f64() / seconds * 100.0,
        ));
        run.add(Figure::less(
            "wake-ups/s of an idle server",
            count,
            (self::wakes(&server) - wakes) as f64 / seconds,
        ));
    }
}

/// How often all threads together have slept so far.
fn wakes(server: &Server) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid()));
    let threads = threads.expect("the server runs").flatten();
    threads
        .map(|thread| {
            let status = thread.path().join("status");
            // One that ends meanwhile has none any more.
            number_in(&status.to_string_lossy(), "voluntary_ctxt_switches:").unwrap_or(0)
        })
        .sum()
}

fn wait(time: Duration) {
    wait_until(Instant::now() + time);
}

pub fn wait_until(end: Instant) {
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}
