//! The engine under what surrounds it: rivals, large tables, networks.

mod claims;
mod common;
mod network;
mod outcomes;
mod plans;
mod rules;
