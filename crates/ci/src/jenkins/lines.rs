//! The lines of a `Jenkinsfile`, each at its depth.

#[derive(Default)]
pub(super) struct Lines {
    pub(super) text: String,
    depth: usize,
}

impl Lines {
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(&"    ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    pub(super) fn open(&mut self, line: &str) {
        self.line(&format!("{line} {{"));
        self.depth += 1;
    }

    pub(super) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.line("}");
    }

    /// A shell's script; its own lines keep their indentation.
    pub(super) fn shell(&mut self, script: &str) {
        let body = script.replace('\\', "\\\\").replace("'''", "\\'\\'\\'");
        if body.contains('\n') {
            self.line(&format!("sh '''#!/bin/sh\nset -eu\n{body}\n'''"));
        } else {
            self.line(&format!("sh {}", text(script)));
        }
    }
}

/// A text of Groovy in which nothing is replaced.
pub(super) fn text(text: &str) -> String {
    format!(
        "'{}'",
        text.replace('\\', "\\\\")
            .replace('\'', "\\'")
            .replace('\n', "\\n")
            .replace('\r', "\\r")
    )
}
