//! A slow link: the server is in a network namespace of its own, behind a pair of interfaces whose packets are held back
//! (`tc-netem(8)`). Needs root, and a kernel that has it.

use super::common::Server;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

const CLIENTS: &str = "10.213.78.1";
const SERVER: &str = "10.213.78.2";

/// For each of the two ways; so it takes 20 ms there and back. A queue of half a second, as a home's router has one.
const NETEM: &str = "netem rate 10mbit delay 10ms limit 500";

/// Taken down in the end.
pub struct Network {
    name: String,
}

impl Network {
    /// The reason if there can be none.
    pub fn new() -> Result<Network, String> {
        let network = Network {
            name: format!("bench{}", std::process::id()),
        };
        let name = &network.name;
        let there = format!("ip netns exec {name}");
        for command in [
            format!("ip netns add {name}"),
            format!("ip link add {name} type veth peer name server netns {name}"),
            format!("ip addr add {CLIENTS}/24 dev {name}"),
            format!("ip link set {name} up"),
            format!("{there} ip addr add {SERVER}/24 dev server"),
            format!("{there} ip link set server up"),
            format!("tc qdisc add dev {name} root {NETEM}"),
            format!("{there} tc qdisc add dev server root {NETEM}"),
        ] {
            run(&command)?;
        }
        Ok(network)
    }

    /// A server at the other end.
    pub fn start_server(&self) -> Server {
        let namespace = File::open(format!("/run/netns/{}", self.name)).expect("it was made");
        let enter = move || {
            // SAFETY: the descriptor is open as long as the closure lives.
            match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        let listen = format!("{SERVER}:0");
        Server::start_with(&[("LISTEN", &listen)], |command| {
            // SAFETY: between fork and exec there is only a system call.
            unsafe { command.pre_exec(enter) };
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for command in ["ip link del", "ip netns del"] {
            // What was not made cannot be taken down.
            let _ = run(&format!("{command} {}", self.name));
        }
    }
}

/// Runs a command, or says why not.
fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default())
        .args(words)
        .output()
        .map_err(|error| format!("{command:?} does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} fails: {}", why.trim()))
}
