//! Ports of this test's own.

use std::fs;

const MANY: u16 = 16;

/// Ports that no other test uses at the same time, below those that the system gives out by itself.
pub struct Ports {
    first: u16,
    _lock: fs::File,
}

impl Ports {
    pub fn take() -> Self {
        let dir = std::env::temp_dir().join("longshore-test-ports");
        fs::create_dir_all(&dir).expect("makes a folder");
        for block in 0..50 {
            let lock = fs::File::create(dir.join(format!("traffic-{block}"))).expect("opens a lock");
            if lock.try_lock().is_ok() {
                let first = 31_000 + block * MANY;
                return Self { first, _lock: lock };
            }
        }
        panic!("every block of ports is in use by a test");
    }

    /// Where HAProxy tells what it counts.
    pub fn exporter(&self) -> u16 {
        self.first
    }

    /// The first and the last one of the shop's.
    pub fn shop(&self) -> (u16, u16) {
        (self.first + 1, self.first + MANY - 1)
    }
}
