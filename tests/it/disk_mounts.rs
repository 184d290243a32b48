//! A real file system, on a small disk of its own: it fills up, or it becomes read-only. Mounts are for root, and the disk
//! is a loop device.

use crate::common;
use crate::disk_faults::{publish, publish_until_refused};

use common::{binary_after, wait_until, Folder, Reply, Server, BOUND, TOKEN};
use std::io::Write;
use std::process::Command;

/// A disk with a file system, in a file. It is mounted for the server alone: mounts go with the process.
struct Disk {
    folder: Folder,
}

impl Disk {
    fn new(name: &str) -> Disk {
        const BYTES: u64 = 16 << 20;
        let disk = Disk {
            folder: Folder::new(name),
        };
        let image = std::fs::File::create(disk.image()).expect("a file can be made");
        image.set_len(BYTES).expect("it can have a hole");
        std::fs::create_dir(disk.place()).expect("a folder can be made");
        let made = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", &disk.image()])
            .status();
        assert!(made.is_ok_and(|made| made.success()), "mke2fs");
        disk
    }

    fn image(&self) -> String {
        self.folder.0.join("image").to_string_lossy().into_owned()
    }

    /// Where it is mounted.
    fn place(&self) -> String {
        self.folder.0.join("disk").to_string_lossy().into_owned()
    }

    fn data(&self) -> String {
        format!("{}/data", self.place())
    }

    /// The command that starts a server that sees it.
    fn command(&self, options: &str) -> Command {
        let (image, place) = (self.image(), self.place());
        binary_after(
            &["unshare", "--mount"],
            &format!("mount -o loop,{options} '{image}' '{place}'"),
        )
    }

    fn start(&self) -> Server {
        let command = self.command("errors=remount-ro");
        Server::start_by(command, &[("DATA_DIR", &self.data())])
    }

    /// A file's path on it, as others than the server see it.
    fn path(&self, server: &Server, file: &str) -> String {
        format!("/proc/{}/root{}/{file}", server.pid(), self.place())
    }

    /// Takes all the room that there is.
    fn fill(&self, server: &Server) {
        let path = self.path(server, "filler");
        let mut filler = std::fs::File::create(path).expect("a file can be made");
        for bytes in [1 << 16, 1 << 12, 1] {
            while filler.write_all(&vec![0; bytes]).is_ok() {}
        }
    }

    /// The kernel finds a fault, and mounts it read-only.
    fn fail(&self, server: &Server) {
        let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", server.pid()));
        let mounts = mounts.expect("the server runs");
        let mut words = mounts.lines().map(|line| line.split(' '));
        let device = words
            .find_map(|mut words| {
                let device = words.next()?;
                (words.next()? == self.place()).then(|| device.trim_start_matches("/dev/"))
            })
            .expect("it is mounted");
        let path = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        std::fs::write(path, "1").expect("the kernel can be told of a fault");
    }

    /// Somebody mounts another disk in its place.
    fn replace(&self, server: &Server) {
        let pid = server.pid().to_string();
        let mount = ["mount", "-t", "tmpfs", "none", &self.place()];
        let done = Command::new("nsenter")
            .args(["--mount", "--target", &pid])
            .args(mount)
            .status();
        assert!(done.is_ok_and(|done| done.success()), "mount");
    }
}

fn is_ready(server: &Server) -> bool {
    server.get("/health/ready").status == 200
}

/// What everybody sees while nothing can be stored, and why that is.
#[track_caller]
fn stores_nothing(server: &Server, refused: &Reply, words: &str) {
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(server.get("/health/ready").status, 503);
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/stats").json()["disk"]["state"], "failing");
    let line = server.wait_for_log("event=disk_lost");
    assert!(line.contains(words), "{line}");
    assert_eq!(server.count_in_log("event=disk_lost"), 1);
    assert_eq!(server.subscribe("a").status, 200, "others may come");
}

#[test]
fn needs_mount_needs_mke2fs_a_disk_that_is_full_refuses_messages_until_there_is_room() {
    let disk = Disk::new("mount-full");
    let server = disk.start();
    let mut stream = server.subscribe("a");
    assert_eq!(publish(&server, "before").status, 200);
    let mut stored = vec!["before".to_string()];
    disk.fill(&server);
    // The files that are there may have room.
    let refused = publish_until_refused(&server, &mut stored);
    stores_nothing(&server, &refused, "free some space");
    std::fs::remove_file(disk.path(&server, "filler")).expect("it can be removed");
    wait_until("it goes on by itself", 2 * BOUND, || is_ready(&server));
    server.wait_for_log("event=disk_back");
    assert_eq!(publish(&server, "after").status, 200);
    stored.push("after".into());
    for text in stored {
        assert_eq!(stream.next().data, text);
    }
}

#[test]
fn needs_mount_needs_mke2fs_a_disk_that_becomes_read_only_refuses_messages_until_it_is_replaced() {
    let disk = Disk::new("mount-read-only");
    let server = disk.start();
    let mut stream = server.subscribe("a");
    let before = publish(&server, "before");
    assert_eq!(before.status, 200);
    disk.fail(&server);
    let refused = publish(&server, "refused");
    stores_nothing(&server, &refused, "");
    let retained = server.get("/messages/a?format=text").text();
    assert_eq!(retained, "before\n");
    disk.replace(&server);
    wait_until("it goes on by itself", 2 * BOUND, || is_ready(&server));
    assert_eq!(publish(&server, "after").status, 200);
    for text in ["before", "after"] {
        assert_eq!(stream.next().data, text);
    }
}

#[test]
fn needs_mount_needs_mke2fs_a_server_does_not_start_on_a_read_only_disk() {
    let disk = Disk::new("mount-read-only-start");
    let output = disk
        .command("ro")
        .env("DATA_DIR", disk.data())
        .env("LISTEN", "127.0.0.1:0")
        .env("AUTH_TOKEN", TOKEN)
        .output()
        .expect("unshare runs");
    let line = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(line.contains("Read-only file system"), "{line}");
    assert!(line.contains(&disk.data()), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}
