//! Files that are made to do harm, or are no pipelines at all: an answer, soon, and never a panic.

use ci::Dialect;
use ci::lint::lint;
use ci::yaml::MOST_BYTES;
use proptest::prelude::*;

fn unreadable(bytes: &[u8]) -> String {
    let mut said = String::new();
    for dialect in Dialect::ALL {
        let found = lint(dialect, bytes);
        let finding = found.iter().find(|finding| finding.rule == "unreadable");
        let finding = finding.unwrap_or_else(|| panic!("{} read it: {found:?}", dialect.name()));
        if dialect == Dialect::Gitlab {
            said = format!("{}:{}: {}", finding.at.line, finding.at.column, finding.what);
        }
    }
    said
}

#[test]
fn a_bomb_of_aliases_is_weighed_and_not_read_out() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let inner = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
    }
    assert!(unreadable(bomb.as_bytes()).contains("aliases stand for more than"));
}

#[test]
fn depth_is_bounded_through_brackets_blocks_and_aliases() {
    assert!(unreadable("[".repeat(100_000).as_bytes()).contains(':'));
    let blocks: String = (0..300)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    assert!(unreadable(blocks.as_bytes()).contains("deep in each other"));
    let mut chain = String::from("a0: &a0 [x]\n");
    for level in 1..3000 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(unreadable(chain.as_bytes()).contains("deep in each other"));
    let own = "a: &a\n  b: *a\n";
    assert!(unreadable(own.as_bytes()).starts_with("2:"));
}

#[test]
fn what_is_no_text_says_where() {
    assert_eq!(unreadable(b"a: 1\nb: \xff\xfe\n"), "2:4: not text in UTF-8");
    assert!(unreadable(&vec![b'a'; MOST_BYTES + 1]).contains("are read at most"));
    assert!(unreadable(b"").contains("no map"));
    assert!(unreadable(b"- a\n- b\n").contains("no map"));
    assert!(unreadable(b"a: [1\nb: 2\n").contains("not YAML"));
    assert!(unreadable(b"a: 'x\n").contains("not YAML"));
}

#[test]
fn a_line_of_two_megabytes_is_read() {
    let text = format!("job:\n  script: [\"{}\"]\n", "x".repeat(MOST_BYTES - 100));
    let found = lint(Dialect::Gitlab, text.as_bytes());
    assert!(
        found.iter().all(|finding| finding.rule != "unreadable"),
        "{found:?}"
    );
}

/// Time and memory that grow with the square of what is named would take minutes, and gigabytes.
#[test]
fn thousands_of_jobs_in_circles_with_needs_that_are_not_there_are_answered_soon() {
    let each = |line: &dyn Fn(usize) -> String| (0..8_000).map(line).collect::<String>();
    let gitlab = each(&|at| format!("j{at}: {{script: [x], needs: [j{}, j0, n{at}]}}\n", at + 1));
    let github = each(&|at| format!("  j{at}: {{steps: [], needs: [j{}, j0, n{at}]}}\n", at + 1));
    for (dialect, text) in [
        (Dialect::Gitlab, gitlab),
        (Dialect::Github, format!("jobs:\n{github}")),
    ] {
        let found = lint(dialect, text.as_bytes());
        let of = |rule: &str| found.iter().filter(|finding| finding.rule == rule).count();
        assert_eq!(of("unreadable"), 0, "{}", dialect.name());
        assert!(of("needs-cycle") >= 1, "{}", dialect.name());
        assert!(of("needs-unknown") >= 8_000);
    }
    // No key of YAML is longer; what it is compared with may be.
    let (key, need) = ("x".repeat(1000), "x".repeat(MOST_BYTES - 10_000));
    let text = format!("a: {{script: [x], needs: [\"{need}\"]}}\n{key}: {{script: [x]}}\n");
    let found = lint(Dialect::Gitlab, text.as_bytes());
    assert!(found.iter().any(|finding| finding.rule == "needs-unknown"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in Dialect::ALL {
            let _ = lint(dialect, &bytes);
        }
    }

    #[test]
    fn nothing_that_looks_like_a_pipeline_makes_it_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "jobs:", "on:", "stages:", "steps:", "\n", "\n  ", "\n    ", "- ", "script:", "run:", "uses: a@b", "needs: [a]", "if: ",
            "a:", "b:", "&x ", "*x", "<<: *x", "!reference [a, script]", "${{ github.event.issue.title }}", "'", "\"", "{", "}", "[",
            "]", "|", "pipeline {", "stage('a') {", "sh 'x'", "when {", "branch 'x'", "(", ")", "rules:", "extends: a", "include: x",
        ]), 0..40),
    ) {
        let text = words.concat();
        for dialect in Dialect::ALL {
            let _ = lint(dialect, text.as_bytes());
            if let Ok(read) = dialect.read(&text) {
                for to in Dialect::ALL {
                    let _ = to.write(&read.pipeline);
                }
            }
        }
    }
}
