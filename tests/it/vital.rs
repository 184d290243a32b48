//! Threads that all depend on: when one of them cannot go on, the process ends, so that it can be restarted.
#![cfg(target_os = "linux")]

use crate::common;

use common::{wait_until, Server, BOUND};
use std::process::{Command, Stdio};

/// The id of the server's thread with this name.
fn thread(server: &Server, name: &str) -> u32 {
    let found = server
        .named_threads()
        .into_iter()
        .find(|(_, own)| own == name);
    found
        .unwrap_or_else(|| panic!("there is no thread {name}"))
        .0
}

/// The linker's name of a function that panics.
fn panicking_function(server: &Server) -> String {
    name_with(server, b"11Fallibility17capacity_overflow")
}

/// The linker's name that has this part.
fn name_with(server: &Server, part: &[u8]) -> String {
    let program = std::fs::read(format!("/proc/{}/exe", server.pid())).expect("it can be read");
    let place = program.windows(part.len()).position(|text| text == part);
    let place = place.expect("the program has its names");
    let is_end = |byte: &u8| *byte == 0;
    let begin = program[..place]
        .iter()
        .rposition(is_end)
        .map_or(0, |end| end + 1);
    let end = program[place..].iter().position(is_end).expect("it ends");
    String::from_utf8_lossy(&program[begin..place + end]).into()
}

/// Has a thread panic, wherever it is.
fn let_panic(server: &mut Server, (number, name): &(u32, String)) {
    let call = format!("call (void){}(1)", panicking_function(server));
    let gdb = Command::new("gdb")
        .args(["-nx", "-batch", "-p", &number.to_string(), "-ex", &call])
        .output();
    let told = gdb.expect("gdb runs");
    let told = String::from_utf8_lossy(&told.stdout);
    let mut status = None;
    wait_until(
        &format!("the process ends with {name}: {told}"),
        BOUND,
        || {
            status = server.status();
            status.is_some()
        },
    );
    let status = status.expect("just set");
    assert!(
        !status.success(),
        "{name}: the exit status says so: {status}"
    );
    server.wait_for_log("event=panic");
    assert_eq!(server.count_in_log("panic"), 1, "{name}: {}", server.log());
}

/// Where a sleeping thread's registers are known by name.
#[cfg(target_arch = "x86_64")]
#[test]
fn needs_gdb_a_panic_of_a_streams_thread_costs_that_stream_alone() {
    let server = Server::start(&[]);
    let mut lost = server.subscribe("a");
    let number = thread(&server, "stream");
    let mut other = server.subscribe("a");
    // It goes on as if its own code had called the function, so that the panic unwinds through that.
    let go_on = [
        "set var $orig_rax = -1".to_string(),
        "set var $rdi = 1".to_string(),
        format!("set var $pc = &{}", panicking_function(&server)),
    ];
    let commands = go_on.iter().flat_map(|command| ["-ex", command]);
    let gdb = Command::new("gdb")
        .args(["-nx", "-batch", "-p", &number.to_string()])
        .args(commands)
        .output();
    assert!(gdb.is_ok(), "gdb runs");
    server.wait_for_log("event=panic thread=stream");
    lost.ending();
    let id = server.publish("a", "to the other");
    assert_eq!(other.next().id, Some(id));
}

/// Where a function's registers are known by name.
#[cfg(target_arch = "x86_64")]
#[test]
fn needs_gdb_a_panic_in_a_route_is_answered_and_counted() {
    let server = Server::start(&[]);
    let identify = name_with(&server, b"11credentials8identify");
    // As if the route itself had called the other function.
    let commands = [
        format!("break *(char*)&{identify}"),
        "continue".to_string(),
        "delete".to_string(),
        "set var $rdi = 1".to_string(),
        format!("set var $pc = &{}", panicking_function(&server)),
    ];
    let commands = commands.iter().flat_map(|command| ["-ex", command]);
    let mut gdb = Command::new("gdb")
        .args(["-nx", "-batch", "-p", &server.pid().to_string()])
        .args(commands)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("gdb runs");
    // Until gdb is there, it is answered as always.
    let mut reply = None;
    wait_until("the route panics", 3 * BOUND, || {
        let next = server.get("/messages/a");
        let has_panicked = next.status == 500;
        reply = has_panicked.then_some(next);
        has_panicked
    });
    let _ = gdb.wait();
    let reply = reply.expect("just set");
    server.wait_for_log("event=panic thread=worker");
    let metrics = server.get("/metrics").text();
    let line = "sse_server_responses_total{route=\"messages\",status=\"500\"} 1";
    assert!(metrics.contains(line), "no {line} in:\n{metrics}");
    let kind = reply.header("Content-Type");
    assert_eq!(kind, Some("application/problem+json"));
    assert_eq!(reply.header("Access-Control-Allow-Origin"), Some("*"));
}

/// Whether all depend on it. A worker's panic costs one request; one of the log's thread is nobody's to tell of.
fn is_vital((_, name): &(u32, String)) -> bool {
    !["worker", "waiting", "log"].contains(&&name[..])
}

/// Those with names below, the main one, and tiny_http's, which have its name. Of these there may be one more.
const VITAL_THREADS: usize = 9;

/// The threads that all depend on, once each has its name: a new one has that of the thread that started it.
fn vital_threads(server: &Server) -> Vec<(u32, String)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut threads = Vec::new();
    common::wait_until("all threads have their names", common::BOUND, || {
        threads = server.named_threads();
        let count = |name: &str| threads.iter().filter(|(_, own)| own == name).count();
        let have_names = count("worker") == cores.max(2)
            && ["announcer", "janitor", "statistics", "door"].map(count) == [1; 4];
        threads.retain(is_vital);
        have_names && threads.len() >= VITAL_THREADS
    });
    threads
}

#[test]
fn needs_gdb_a_panic_of_any_thread_that_all_depend_on_ends_the_process_with_one_line() {
    std::thread::scope(|scope| {
        for place in 0..VITAL_THREADS {
            scope.spawn(move || {
                let mut server = Server::start(&[]);
                let thread = vital_threads(&server).swap_remove(place);
                let_panic(&mut server, &thread);
            });
        }
    });
}

#[cfg(feature = "redis")]
#[test]
fn needs_gdb_needs_redis_server_a_panic_of_the_clusters_threads_ends_the_process_with_one_line() {
    let redis = common::redis::Redis::start();
    for name in ["writer", "follower"] {
        let mut server = common::redis::server(&redis.url());
        let number = thread(&server, name);
        let_panic(&mut server, &(number, name.into()));
    }
}

#[cfg(feature = "disk")]
#[test]
fn needs_gdb_a_panic_of_the_disks_thread_ends_the_process_with_one_line() {
    let folder = common::Folder::new("vital");
    let mut server = Server::start(&[("DATA_DIR", &folder.0.to_string_lossy())]);
    let number = thread(&server, "disk");
    let_panic(&mut server, &(number, "disk".into()));
}

#[test]
fn needs_strace_a_door_that_cannot_wait_for_sockets_ends_the_process_with_one_line() {
    let mut server = Server::start(&[]);
    let _stream = server.subscribe("a");
    // Its next wait fails, as on a system that is out of order.
    let mut strace = Command::new("strace")
        .args(["-q", "-p", &thread(&server, "door").to_string()])
        .args(["-e", "trace=epoll_wait,epoll_pwait"])
        .args(["-e", "inject=epoll_wait,epoll_pwait:error=EBADF"])
        .stderr(Stdio::null())
        .spawn()
        .expect("strace runs");
    let mut status = None;
    wait_until("the process ends", BOUND, || {
        // A connection wakes the door, should it sleep.
        if let common::Address::Tcp(address) = server.address {
            let _ = std::net::TcpStream::connect(address);
        }
        status = server.status();
        status.is_some()
    });
    let _ = strace.kill();
    let _ = strace.wait();
    let status = status.expect("just set");
    assert!(!status.success(), "the exit status says so: {status}");
    let line = server.wait_for_log("event=panic thread=door");
    assert!(line.contains("cannot wait for sockets"), "{line}");
    assert_eq!(
        server.count_in_log("panic"),
        1,
        "one line: {}",
        server.log()
    );
}
