//! A proxy in front of servers, configured by a file that a chapter shows.

use super::documents::block_with;
use super::{wait_until, Folder, BOUND};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

/// A file that the chapter on several servers shows, with other ports.
#[track_caller]
pub fn file_of_chapter(name: &str, ports: &[(&str, u16)]) -> String {
    let ports = ports.iter().map(|(old, new)| (*old, new.to_string()));
    let ports: Vec<_> = ports.collect();
    let ports: Vec<_> = ports
        .iter()
        .map(|(old, new)| (*old, new.as_str()))
        .collect();
    block_with("assets/docs/cluster.md", &format!("file: {name}"), &ports)
}

/// A proxy on a free port.
pub struct Front {
    child: Child,
    _folder: Folder,
    pub addr: SocketAddr,
}

impl Front {
    /// Runs `program` in its own folder, with a file of this name and text.
    pub fn start(name: &str, text: &str, port: u16, program: &mut Command) -> Front {
        let folder = Folder::new(&format!("proxy-{port}"));
        folder.write(name, text);
        let child = program
            .current_dir(&folder.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the proxy runs");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        wait_until("the proxy listens", BOUND, || {
            TcpStream::connect(addr).is_ok()
        });
        Front {
            child,
            _folder: folder,
            addr,
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

/// nginx with this file.
pub fn nginx(text: &str, port: u16) -> Front {
    // Where somebody who is not root may write, and without the system's own log.
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = kinds.map(|kind| format!("{kind}_temp_path {kind};\n"));
    let begin = format!("http {{\naccess_log off;\n{}", paths.concat());
    let text = text.replace("http {\n", &begin);
    let options = "daemon off; pid nginx.pid; error_log error.log;";
    let mut program = Command::new("nginx");
    program.args([
        "-p",
        ".",
        "-c",
        "nginx.conf",
        "-e",
        "error.log",
        "-g",
        options,
    ]);
    Front::start("nginx.conf", &text, port, &mut program)
}

/// HAProxy with this file.
pub fn haproxy(text: &str, port: u16) -> Front {
    let mut program = Command::new("haproxy");
    program.args(["-f", "haproxy.cfg", "-db"]);
    Front::start("haproxy.cfg", text, port, &mut program)
}
