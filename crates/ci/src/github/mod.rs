//! GitHub Actions: a workflow in `.github/workflows/`.
//!
//! Source of its words: docs.github.com, "Workflow syntax for GitHub Actions", "Contexts", "Evaluate expressions".

mod expressions;
mod read;
mod script;
mod steps;
mod write;

pub use read::read;
pub use write::write;

fn identifier(text: &str) -> String {
    crate::generate::identifier(text)
}

/// A name with a dash is no word of the language of expressions.
fn result_of(id: &str) -> String {
    if id.contains('-') {
        format!("needs['{id}'].result")
    } else {
        format!("needs.{id}.result")
    }
}

/// The text that an expression of nothing else stands for.
fn literal(expression: &str) -> Option<&str> {
    let text = expression.strip_prefix('\'')?.strip_suffix('\'')?;
    (!text.contains('\'')).then_some(text)
}
