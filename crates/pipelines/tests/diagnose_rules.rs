//! Every rule carries the lines it is for, and lines that look like them and are not.

use pipelines::diagnose::{Context, RuleSet, diagnose_bytes};

#[test]
fn each_rule_and_mark_recognises_its_own_lines_and_leaves_the_others() {
    let rules = builtin();
    let mut wrong = Vec::new();
    let marks = rules
        .marks()
        .iter()
        .map(|mark| (&mark.id, &mark.matches, &mark.rejects));
    let tested = rules
        .rules()
        .iter()
        .map(|rule| (&rule.id, &rule.matches, &rule.rejects))
        .chain(marks);
    for (id, matches, rejects) in tested {
        assert!(!matches.is_empty(), "{id} carries no line that it recognises");
        for line in matches
            .iter()
            .filter(|line| !rules.recognise(line).contains(&id.as_str()))
        {
            wrong.push(format!("{id} does not recognise: {line}"));
        }
        for line in rejects
            .iter()
            .filter(|line| rules.recognise(line).contains(&id.as_str()))
        {
            wrong.push(format!("{id} recognises: {line}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn weights_and_texts_are_in_range() {
    for rule in builtin().rules() {
        assert!(
            (1..=100).contains(&rule.weight),
            "{}: weight {}",
            rule.id,
            rule.weight
        );
        assert!(rule.why.ends_with(['.', '}', ':']), "{}: {}", rule.id, rule.why);
        assert!(rule.advice.ends_with('.'), "{}: {}", rule.id, rule.advice);
    }
}

#[test]
fn every_pattern_can_be_compiled() {
    builtin().check().unwrap();
}

#[test]
fn what_is_said_of_each_rules_own_lines_reads_as_a_sentence() {
    let rules = builtin();
    let mut odd = Vec::new();
    for line in rules.rules().iter().flat_map(|rule| &rule.matches) {
        let diagnosis = diagnose_bytes(rules, line.as_bytes(), &Context::default());
        let id = diagnosis.rule.as_deref().unwrap_or("no rule");
        for said in [&diagnosis.why, &diagnosis.advice] {
            let gap = said.contains("  ") && !line.contains("  ");
            if gap
                || said.ends_with(" .")
                || said.contains(" line does not compile")
                || said.trim() != said
                || said.ends_with(':')
            {
                odd.push(format!("{id}: {said:?} of {line}"));
            }
        }
    }
    assert!(odd.is_empty(), "{}", odd.join("\n"));
}

fn builtin() -> &'static RuleSet {
    RuleSet::builtin().unwrap_or_else(|error| panic!("{error}"))
}
