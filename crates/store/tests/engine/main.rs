//! The engine under what surrounds it: rivals, large tables, networks.

mod claims;
mod common;
mod held_back;
mod network;
mod outcomes;
mod plans;
mod rules;
