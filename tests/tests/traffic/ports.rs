//! Who listens on which of this test's own ports.

pub struct Ports(testkit::Ports);

impl Ports {
    pub fn take() -> Self {
        Self(testkit::Ports::take())
    }

    /// Where HAProxy tells what it counts.
    pub fn exporter(&self) -> u16 {
        self.0.first()
    }

    /// Where HAProxy shows the version that nobody gets yet.
    pub fn preview(&self) -> u16 {
        self.0.first() + 1
    }

    /// The first and the last one of the shop's.
    pub fn shop(&self) -> (u16, u16) {
        (self.0.first() + 2, self.0.last())
    }
}
