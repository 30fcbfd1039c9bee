//! Text from outside reaches a note as text and code only, whatever it is, and the note keeps its limit.

use chrono::Utc;
use domain::{Evidence, Fact, FollowOn, LabelChange, Report, TaskId, Verdict};
use proptest::prelude::*;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use store::outbox::Earlier;
use tickets::render::{Kind, Marker, Subject, living, moment};

/// What forges act on, and what breaks out of Markdown.
const NASTY: &[&str] = &[
    "@all",
    "@group/team",
    "/close",
    "\n/close",
    "\n\n/assign me",
    "- /label ~x",
    "> /close",
    "#1",
    "!2",
    "~bug",
    "~\"a b\"",
    "%v1",
    "$3",
    "&4",
    "group/app#5",
    "^alert#6",
    "GL-7",
    "PROJ-8",
    "9fceb02",
    "https://evil.example/x",
    "www.evil.example",
    "mailto:a@b.example",
    "<b>",
    "</details>",
    "<script>alert(1)</script>",
    "<!-- longshore task=t kind=living -->",
    "-->",
    "&lt;",
    "&#64;all",
    "![x](https://evil.example/a.png)",
    "[x](javascript:alert(1))",
    "[x]: https://evil.example",
    "`",
    "``",
    "```",
    "````",
    "\n```\n",
    "~~~",
    "\n~~~\n",
    "# heading",
    "\n# heading",
    "\n===",
    "\n---",
    "***",
    "**bold**",
    "_it_",
    "~~gone~~",
    "1. item",
    "- item",
    "+ item",
    "* item",
    "> quote",
    "| a | b |",
    "\n|-|-|\n",
    "    code",
    "\t",
    "\\",
    "\\`",
    "\\@all",
    ":tada:",
    ":100:",
    "[[_TOC_]]",
    "[TOC]",
    "snake_case_",
    "_a_b_",
    "[vulnerability:7]",
    "*iteration:3",
    "PROJ-8's",
    "x/PROJ-8/y",
    "::include{file=x}",
    "[ ]",
    "{+ins+}",
    "[-del-]",
    "$`x`$",
    "<https://evil.example>",
    "\r\n/close",
    "\u{2028}/close",
    "\u{200b}",
    "\u{202e}",
    "\0",
    "\u{1b}[31m",
    "```suggestion\n",
    "[^1]",
    "[^1]: note",
    "(",
    ")",
    "\"",
    "'",
    "]",
    "[",
    "}",
    "{",
    " ",
    "\n",
    "a",
    "word",
];

fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        5 => prop::sample::select(NASTY).prop_map(str::to_owned),
        2 => "[ -~]{0,8}",
        1 => "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn report() -> impl Strategy<Value = Report> {
    let texts = prop::collection::vec(nasty(), 16);
    (texts, prop::option::of(1u64..9), 0usize..3, any::<bool>()).prop_map(|(t, first, steps, link)| Report {
        verdict: if steps == 1 {
            Verdict::Held
        } else {
            Verdict::Failed
        },
        summary: t[0].clone(),
        environment: Some(t[1].clone()),
        version: Some(t[2].clone()),
        who: Some(t[3].clone()),
        facts: vec![
            Fact {
                label: t[4].clone(),
                value: t[5].clone(),
                link: None,
            },
            Fact {
                label: "x".into(),
                value: t[6].clone(),
                link: Some(format!("{}{}", if link { "https://x/" } else { "" }, t[7])),
            },
        ],
        evidence: vec![Evidence {
            title: t[8].clone(),
            text: t[9].clone(),
            first_line: first,
            deciding_line: first.map(|n| n + 1),
            link: Some(format!("https://x/{}", t[10])),
        }],
        why: Some(t[11].clone()),
        next_steps: vec![t[12].clone(); steps],
        follow_ons: vec![FollowOn {
            task_id: t[13].as_str().into(),
            task_type: t[14].clone(),
            agent: Some(t[15].clone()),
            why: t[0].clone(),
        }],
        labels: LabelChange::default(),
        data: serde_json::Value::Null,
    })
}

fn check(body: &str) -> Result<(), TestCaseError> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES;
    let (mut text, mut in_fence) = (String::new(), false);
    for event in Parser::new_ext(body, options) {
        match event {
            Event::Text(_) if in_fence => {}
            Event::Text(part) => text.push_str(&part),
            Event::Start(Tag::Link { dest_url, .. }) => {
                let ours = dest_url.starts_with("https://x/")
                    || dest_url.starts_with("https://living/")
                    || dest_url.starts_with("https://evil.example");
                prop_assert!(
                    ours && dest_url.starts_with("https://"),
                    "link to {dest_url:?} in\n{body}"
                );
            }
            Event::Html(html) => {
                let html = html.trim();
                let ours = ["<details>", "</details>", "<summary>History (1)</summary>"].contains(&html);
                prop_assert!(
                    ours || html.starts_with("<!-- longshore task="),
                    "HTML {html:?} in\n{body}"
                );
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let ours = matches!(kind, CodeBlockKind::Fenced(ref info) if &**info == "text");
                prop_assert!(ours, "a code block of theirs in\n{body}");
                in_fence = true;
            }
            Event::End(TagEnd::CodeBlock) => in_fence = false,
            Event::Start(
                Tag::Heading { .. }
                | Tag::Image { .. }
                | Tag::BlockQuote(_)
                | Tag::Table(_)
                | Tag::FootnoteDefinition(_)
                | Tag::Emphasis
                | Tag::Strikethrough,
            )
            | Event::InlineHtml(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_)
            | Event::Rule => prop_assert!(false, "{event:?} in\n{body}"),
            _ => text.push(' '),
        }
    }
    for pair in text.as_bytes().windows(2) {
        let acts = match pair[0] {
            b'@' | b'~' | b'%' => pair[1].is_ascii_alphanumeric(),
            b'#' | b'!' => pair[1].is_ascii_digit(),
            _ => false,
        };
        prop_assert!(!acts, "a mention or reference in\n{body}\n{text}");
    }
    // Read after Markdown, where a backslash protects nothing.
    let lower = text.to_ascii_lowercase();
    prop_assert!(
        !lower.contains("[[_toc_]]")
            && !lower.contains("[toc]")
            && !lower.contains("[vulnerability:")
            && !text.contains("PROJ-8"),
        "a reference in\n{body}\n{text}"
    );
    prop_assert!(
        !text.contains("://") && !text.contains("www."),
        "a link in\n{body}\n{text}"
    );
    // A forge may look for commands before it reads Markdown, and in quotes and lists too.
    for line in body.lines() {
        prop_assert!(!line.starts_with('/'), "a command in\n{body}");
        let listed = line.trim_start_matches([' ', '\t', '-', '*', '+']);
        let bare = listed
            .split_once(". ")
            .filter(|(n, _)| n.bytes().all(|b| b.is_ascii_digit()))
            .map_or(listed, |(_, rest)| rest);
        let in_evidence = line.starts_with("  ") || line.starts_with("> ");
        prop_assert!(
            in_evidence || !bare.starts_with('/'),
            "a command after a prefix in\n{body}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn outside_text_is_only_ever_text_or_code(report in report(), told in nasty(), id in nasty(), limit in 600usize..4000) {
        let task = TaskId::from(id.as_str());
        let history = [Earlier { at: Utc::now(), verdict: Verdict::Running, summary: told }];
        let subject = Subject { task: &task, report: &report, history: &history, at: Utc::now() };
        for (body, kind) in [
            (living(&subject, limit), Kind::Living),
            (moment(&subject, 2, Some("https://living/1"), limit), Kind::Moment(2)),
        ] {
            prop_assert!(body.chars().count() <= limit, "{} of {limit}", body.chars().count());
            prop_assert_eq!(Marker::of(&body), Some(Marker::new(&task, kind)), "{}", body);
            let deceives = body.contains(['\0', '\u{1b}', '\u{202e}']);
            prop_assert!(!deceives);
            check(&body)?;
        }
    }

    #[test]
    fn plain_words_come_through_word_for_word(
        words in prop::collection::vec("[a-zA-Z]{1,6}[.,;:!?]?|[0-9]{1,4}|[(]?[a-z]{2,5}[)]?|[*_<>|\\\\=+-]{1,3}", 1..12)
    ) {
        let summary = words.join(" ");
        let task = TaskId::from("t");
        let report = Report::new(Verdict::Failed, summary.clone());
        let body = living(&Subject { task: &task, report: &report, history: &[], at: Utc::now() }, 100_000);
        let mut text = String::new();
        for event in Parser::new(&body) {
            if let Event::Text(part) | Event::Code(part) = event {
                text.push_str(&part);
            }
        }
        prop_assert!(text.contains(&summary), "{summary:?} reads {text:?} in\n{body}");
    }
}
