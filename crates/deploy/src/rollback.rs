//! `rollback`: goes straight to a version that did well.
