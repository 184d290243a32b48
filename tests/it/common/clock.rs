//! A wall clock that a test can set for one program: a small C library, loaded before all others, answers in place of
//! the system and adds an offset, which it reads from a file at every call.

use super::folder::Folder;
use std::path::PathBuf;
use std::process::Command;

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, now);
    if (done != 0 || clock != CLOCK_REALTIME) return done;
    const char *path = getenv("CLOCK_OFFSET_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    char text[32] = {0};
    if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    close(file);
    return 0;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise) != 0) return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
"#;

pub struct Clock {
    folder: Folder,
}

impl Clock {
    /// A clock that is right. Each one in a program has its own name.
    pub fn new(name: &str) -> Clock {
        let clock = Clock {
            folder: Folder::new(name),
        };
        clock.set_seconds_off(0);
        let source = clock.file("clock.c");
        std::fs::write(&source, SHIM).expect("a file can be written");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([clock.file("clock.so"), source])
            .arg("-ldl")
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "cc, which Rust links with, builds the clock"
        );
        clock
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// Makes a program that is about to start use this clock.
    pub fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.file("clock.so"))
            .env("CLOCK_OFFSET_FILE", self.file("offset"));
    }

    /// Sets the clock ahead of the true time, or behind it, by this much.
    pub fn set_seconds_off(&self, seconds: i64) {
        // At once for whoever reads: a new file in place of the old one.
        let new = self.file("offset.new");
        std::fs::write(&new, seconds.to_string()).expect("a file can be written");
        std::fs::rename(&new, self.file("offset")).expect("a file can be renamed");
    }
}
