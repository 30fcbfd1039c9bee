//! In-memory stand-ins that behave as the conformance suites demand.
