//! Code spans and fences that their content cannot leave.

/// Characters that only deceive: controls, marks that turn the direction of text, and those of no width.
pub(super) fn is_deceptive(c: char) -> bool {
    (c.is_control() && c != '\t' && c != '\n')
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` as one code span; white space becomes single blanks. A dash for nothing.
pub(super) fn span(text: &str) -> String {
    let text: String = text.chars().filter(|c| !is_deceptive(*c)).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() {
        return "–".to_owned();
    }
    let ticks = "`".repeat(longest_run(&text, '`') + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

/// Lines in a fence that is longer than any run of backticks in them. No line may start with text from outside: a
/// forge that looks for commands at line starts before it reads Markdown would find them there.
pub(super) fn fence(lines: &[String]) -> String {
    let longest = lines.iter().map(|line| longest_run(line, '`')).max().unwrap_or(0);
    let ticks = "`".repeat((longest + 1).max(3));
    let mut out = format!("{ticks}text\n");
    for line in lines {
        out.extend(line.chars().filter(|c| !is_deceptive(*c) && *c != '\n'));
        out.push('\n');
    }
    out.push_str(&ticks);
    out
}

fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or(0)
}
