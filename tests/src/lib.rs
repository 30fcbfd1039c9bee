//! System tests: the built binary, real peers, the rules of the house, and the code in the documentation.

#[cfg(doctest)]
#[doc = include_str!("../../docs/handlers.md")]
struct Handlers;
