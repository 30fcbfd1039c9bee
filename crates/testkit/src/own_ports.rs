use std::fs;

/// Ports for what must be told one before it listens: no other test has them at the same time, and the system gives none of
/// them out by itself.
pub struct Ports {
    first: u16,
    _lock: fs::File,
}

impl Ports {
    /// So many are one test's.
    pub const MANY: u16 = 16;

    pub fn take() -> Self {
        let dir = std::env::temp_dir().join("longshore-test-ports");
        fs::create_dir_all(&dir).expect("makes a folder");
        for block in 0..600 {
            let lock = fs::File::create(dir.join(block.to_string())).expect("opens a lock");
            if lock.try_lock().is_ok() {
                let first = 20_000 + block * Self::MANY;
                return Self { first, _lock: lock };
            }
        }
        panic!("every block of ports is in use by a test");
    }

    pub fn first(&self) -> u16 {
        self.first
    }

    pub fn last(&self) -> u16 {
        self.first + Self::MANY - 1
    }
}
