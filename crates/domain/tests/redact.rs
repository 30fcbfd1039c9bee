//! What must go and what must stay, each as a corpus of lines; and the laws: twice is once, time is linear.

use domain::{Fact, Redactor, Report, Verdict, redact, redact_json};
use proptest::prelude::*;
use serde_json::json;

/// Deterministic letters for the corpus's `{a20}`: never the same twice, always of every class that the form allows.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn letters(&mut self, class: char, count: usize) -> String {
        const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
        const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        const DIGITS: &str = "0123456789";
        let alphabet = match class {
            'a' => format!("{LOWER}{UPPER}{DIGITS}"),
            'A' => format!("{LOWER}{UPPER}"),
            'b' => format!("{LOWER}{UPPER}{DIGITS}+/"),
            'u' => format!("{UPPER}{DIGITS}"),
            'h' => format!("{DIGITS}abcdef"),
            'd' => DIGITS.to_owned(),
            'l' => LOWER.to_owned(),
            _ => panic!("no class {class}"),
        };
        let alphabet = alphabet.as_bytes();
        let mut text: String = (0..count)
            .map(|_| char::from(alphabet[self.next() as usize % alphabet.len()]))
            .collect();
        // Short draws could miss a class; a token of twenty characters in the wild does not.
        if matches!(class, 'a' | 'b') && count >= 6 {
            text.replace_range(count / 2..count / 2 + 3, "q7Z");
        }
        text
    }

    fn expand(&mut self, template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            out.push_str(before);
            let spec = after[1..].split('}').next().unwrap_or_default();
            match (
                spec.chars().next(),
                spec.get(1..).and_then(|n| n.parse::<usize>().ok()),
            ) {
                (Some(class), Some(count)) => {
                    out.push_str(&self.letters(class, count));
                    rest = &after[spec.len() + 2..];
                }
                _ => {
                    out.push('{');
                    rest = &after[1..];
                }
            }
        }
        out.push_str(rest);
        out
    }
}

fn lines(corpus: &'static str) -> impl Iterator<Item = &'static str> {
    corpus
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The text as it comes in, its secrets, and the parts around them.
fn parse(case: &str) -> (String, Vec<String>, Vec<String>) {
    let (mut text, mut secrets, mut kept) = (String::new(), Vec::new(), Vec::new());
    for (i, part) in case.split(['«', '»']).enumerate() {
        text.push_str(part);
        if i % 2 == 1 {
            secrets.push(part.to_owned())
        } else {
            kept.push(part.to_owned())
        }
    }
    (text, secrets, kept)
}

#[test]
fn every_secret_of_the_corpus_goes_and_its_surroundings_stay() {
    let mut draw = Draw(7);
    let mut wrong = Vec::new();
    let mut cases = 0;
    for line in lines(include_str!("corpus/must-redact.txt")) {
        cases += 1;
        let (kind, template) = line.split_once(" | ").unwrap_or(("", line));
        let case = draw.expand(&template.replace("\\n", "\n").replace("\\\n", "\\n"));
        let (text, secrets, kept) = parse(&case);
        let clean = redact(&text).into_owned();
        let shown = clean.replace(&format!("[redacted: {kind}]"), "");
        // No eight characters of a secret in a row may be left, nor the whole of a shorter one.
        for secret in &secrets {
            let chars: Vec<char> = secret.chars().collect();
            let leaked = chars
                .windows(chars.len().min(8))
                .map(|w| w.iter().collect::<String>())
                .find(|w| shown.contains(w.as_str()) && !w.contains([' ', '\n', ':']));
            if let Some(leak) = leaked {
                wrong.push(format!("leaks {leak:?}\n   in {text}\n  out {clean}"));
            }
        }
        let mut from = 0;
        for part in &kept {
            match clean[from..].find(part.trim_end_matches(['\'', '"', ' '])) {
                Some(at) => from += at + part.trim_end_matches(['\'', '"', ' ']).len(),
                None => wrong.push(format!("lost {part:?}\n   in {text}\n  out {clean}")),
            }
        }
        if !clean.contains(&format!("[redacted: {kind}]")) {
            wrong.push(format!("no mark {kind:?}\n   in {text}\n  out {clean}"));
        }
        if redact(&clean) != clean {
            wrong.push(format!("not stable\n   in {clean}\n  out {}", redact(&clean)));
        }
        if text.lines().count() != clean.lines().count() {
            wrong.push(format!("the lines moved\n   in {text}\n  out {clean}"));
        }
    }
    assert!(cases > 100, "the corpus has shrunk to {cases}");
    assert!(
        wrong.is_empty(),
        "{} of {cases}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn plain_text_of_builds_comes_through_untouched() {
    let wrong: Vec<String> = lines(include_str!("corpus/must-keep.txt"))
        .map(|line| line.replace("\\n", "\n"))
        .filter(|text| redact(text) != text.as_str())
        .map(|text| format!("   in {text}\n  out {}", redact(&text)))
        .collect();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn configured_secrets_go_word_for_word_and_as_they_stand_in_a_url() {
    let redactor = Redactor::with_literals(["correct horse/battery", "tiny", "correct horse/battery staple"]);
    let mark = "[redacted: configured secret]";
    assert_eq!(
        redactor.redact("it is correct horse/battery, tiny one"),
        format!("it is {mark}, tiny one")
    );
    assert_eq!(
        redactor.redact("GET /x?q=correct%20horse%2Fbattery HTTP/1.1"),
        format!("GET /x?q={mark} HTTP/1.1")
    );
    assert_eq!(
        redactor.redact("correct horse/battery staple"),
        mark,
        "the longer of two goes whole"
    );
}

#[test]
fn json_is_redacted_by_form_by_name_and_by_place() {
    let forge = format!("ghp_{}", Draw(3).letters('a', 36));
    let mut value = json!({
        "note": format!("pushed with {forge}"),
        "db": {"user": "app", "password": "pw", "pin": {"password": 1234}},
        "tokens": 1234,
        "token": ["abc", {"id": 7, "text": "plain"}],
        "authorization": "abc",
        "env": [{"name": "API_TOKEN", "value": "abc"}, {"name": "MODE", "value": "fast"}],
        "manifest": {"kind": "Secret", "data": {"a": "YWJj"}, "metadata": {"name": "s"}},
        "placeholder": {"password": "${DB_PASSWORD}"},
        forge.clone(): true,
        "sha": "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334",
    });
    redact_json(&mut value);
    let expected = json!({
        "note": "pushed with [redacted: github token]",
        "db": {"user": "app", "password": "[redacted: password]", "pin": {"password": "[redacted: password]"}},
        "tokens": 1234,
        "token": ["[redacted: token]", {"id": 7, "text": "plain"}],
        "authorization": "[redacted: token]",
        "env": [{"name": "API_TOKEN", "value": "[redacted: token]"}, {"name": "MODE", "value": "fast"}],
        "manifest": {"kind": "Secret", "data": {"a": "[redacted: secret]"}, "metadata": {"name": "s"}},
        "placeholder": {"password": "${DB_PASSWORD}"},
        "[redacted: github token]": true,
        "sha": "0f1e2d3c4b5a69788796a5b4c3d2e1f001122334",
    });
    assert_eq!(value, expected);
    let once = value.clone();
    redact_json(&mut value);
    assert_eq!(value, once);
}

#[test]
fn no_text_of_a_report_is_forgotten() {
    let secret = format!("glpat-{}", Draw(5).letters('a', 20));
    let full = json!({
        "verdict": "failed", "summary": secret, "environment": secret, "version": secret, "who": secret,
        "facts": [{"label": secret, "value": secret, "link": format!("https://x/?t={secret}")}],
        "evidence": [{"title": secret, "text": secret, "first_line": 1, "deciding_line": 1, "link": secret}],
        "why": secret, "next_steps": [secret],
        "follow_ons": [{"task_id": "t", "task_type": "fix", "agent": "builder", "why": secret}],
        "data": {"x": secret},
    });
    let report: Report = serde_json::from_value(full).unwrap();
    let clean = serde_json::to_string(&report.redacted()).unwrap();
    assert!(!clean.contains(&secret), "{clean}");
    assert_eq!(clean.matches("[redacted: gitlab token]").count(), 14, "{clean}");

    let named = Report::new(Verdict::Failed, "x")
        .fact("Database password", "hunter2")
        .redacted();
    assert_eq!(
        named.facts,
        [Fact {
            label: "Database password".into(),
            value: "[redacted: password]".into(),
            link: None
        }]
    );
}

/// Each would take hours if any search went back over what it has read.
#[test]
fn hostile_text_takes_linear_time() {
    let n = 100_000;
    for piece in [
        "a",
        "=",
        "password=",
        "password: ",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----\n",
        "curl -u ",
        "x://y:",
        "x://",
        "mysql ",
        "token ",
        "\\\"",
        "password='\\",
        "[redacted: password]",
        "AKIA",
        "authorization: ",
        "cookie: a=",
        "a:1:b:c:",
        "0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijABCDEFGHIJ0123\n",
        "password=a,b",
        "\n",
        "é",
    ] {
        let text = piece.repeat(n / piece.len());
        let _ = redact(&text);
    }
}

fn fragments() -> impl Strategy<Value = String> {
    let mut draw = Draw(11);
    let corpus: Vec<String> = lines(include_str!("corpus/must-redact.txt"))
        .chain(lines(include_str!("corpus/must-keep.txt")))
        .map(|line| {
            draw.expand(
                &line
                    .split_once(" | ")
                    .map_or(line, |(_, case)| case)
                    .replace(['«', '»'], ""),
            )
        })
        .collect();
    let cut = (
        prop::sample::select(corpus),
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(text, at, head)| {
            let mut at = at.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            if head {
                text[..at].to_owned()
            } else {
                text[at..].to_owned()
            }
        });
    let piece = prop_oneof![
        6 => cut,
        2 => "[ -~\n]{0,12}",
        1 => "\\PC{0,6}",
        1 => prop::sample::select(vec!["[redacted: password]", "[redacted: ", "]", "\n", "\"", "'", "=", ": ", "password=", "@", "://"])
            .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn twice_is_once(text in fragments()) {
        let once = redact(&text).into_owned();
        prop_assert_eq!(redact(&once).into_owned(), once);
    }

    #[test]
    fn a_known_form_never_survives_in_any_company(before in fragments(), after in fragments()) {
        let secret = format!("glpat-{}", Draw(13).letters('a', 20));
        let clean = redact(&format!("{before} {secret} {after}")).into_owned();
        prop_assert!(!clean.contains(&secret), "{}", clean);
    }
}
