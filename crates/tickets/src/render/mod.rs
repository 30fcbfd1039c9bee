//! Report → Markdown. Every text of a report may come from outside: it reaches the page as escaped text, as a code span
//! or inside a fence, and in no other way ([`text`], [`code`]).

mod code;
mod fit;
mod marker;
mod page;
mod text;

pub use fit::{living, moment};
pub use marker::{Kind, Marker};
pub use page::Subject;
