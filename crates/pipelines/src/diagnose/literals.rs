//! Which literals a line must contain for a pattern to match it.
//!
//! One pass over the raw bytes looks for the rarest of them; only a line that holds one is cleaned and shown to the
//! patterns.

use regex_syntax::hir::{Class, ClassBytesRange, Hir, HirKind};

use super::start::Start;
use super::usual;

/// A repeated text is written out this many times at most.
const MAX_REPEAT: u32 = 14;
/// Shorter ones hit every other line.
const MIN_LEN: usize = super::prefilter::GRAM;
/// Of a further set, which is looked for in one line alone.
const MIN_OTHER: usize = 3;
/// A line that holds a literal costs as much as this many places that hold only its fingerprint.
const LINES: u32 = 20;
/// More alternatives than this are not multiplied out.
const MOST: usize = 24;
/// So many always are.
const FEW: usize = 4;
/// Further sets that a line is searched for, and texts of one: more would cost what they save.
const MOST_OTHERS: usize = 2;
const MOST_TEXTS: usize = 6;

/// A text that a line must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Literal {
    /// Lower case if case does not matter.
    pub text: Vec<u8>,
    pub any_case: bool,
}

impl Literal {
    pub fn equals(&self, text: &[u8]) -> bool {
        // Most texts differ in the first byte already, which is not worth a call.
        if let (Some(one), Some(other)) = (self.text.first(), text.first())
            && (one ^ other) & !0x20 != 0
        {
            return false;
        }
        if self.any_case {
            text.eq_ignore_ascii_case(&self.text)
        } else {
            text == self.text
        }
    }

    fn byte(byte: u8) -> Literal {
        Literal {
            text: vec![byte],
            any_case: false,
        }
    }

    fn then(&self, end: &Literal) -> Literal {
        Literal {
            text: [self.text.as_slice(), &end.text].concat(),
            any_case: self.any_case || end.any_case,
        }
    }
}

/// Texts of which a line must hold one.
pub type Set = Vec<Literal>;

/// What a line must hold to be worth the search for a pattern. Each of these is necessary, none sufficient.
pub struct Demands {
    /// The set that the fewest lines of usual logs satisfy: every match contains one of its texts.
    pub key: Set,
    /// Further sets of which every match contains one text each.
    pub others: Vec<Set>,
    pub start: Option<Start>,
}

/// `None` when the pattern demands nothing long enough to look for.
pub fn demands(pattern: &str) -> Option<Demands> {
    let hir = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(pattern)
        .ok()?;
    let mut sets: Vec<Set> = sets(&hir)
        .into_iter()
        .filter(|set| shortest(set) >= MIN_OTHER)
        .map(normal)
        .collect();
    let rarest = (0..sets.len())
        .filter(|at| shortest(&sets[*at]) >= MIN_LEN)
        .min_by_key(|at| rarity(&sets[*at]))?;
    let key = sets.swap_remove(rarest);
    for set in &mut sets {
        *set = without_longer(set);
    }
    sets.retain(|set| set.len() <= MOST_TEXTS);
    sets.sort_by_key(rarity);
    sets.truncate(MOST_OTHERS);
    Some(Demands {
        key,
        others: sets,
        start: Start::of(&hir),
    })
}

/// A text that holds another one of the set says nothing more than that.
fn without_longer(set: &Set) -> Set {
    let holds = |long: &Literal, short: &Literal| {
        long != short
            && long.any_case == short.any_case
            && memchr::memmem::find(&long.text, &short.text).is_some()
    };
    set.iter()
        .filter(|long| !set.iter().any(|short| holds(long, short)))
        .cloned()
        .collect()
}

fn rarest(sets: Vec<Set>) -> Option<Set> {
    sets.into_iter()
        .filter(|set| shortest(set) >= MIN_LEN)
        .min_by_key(rarity)
}

fn rarity(set: &Set) -> (u32, std::cmp::Reverse<usize>) {
    (cost(set), std::cmp::Reverse(shortest(set)))
}

pub(super) fn normal(mut set: Set) -> Set {
    for literal in &mut set {
        if literal.any_case {
            literal.text.make_ascii_lowercase();
        }
    }
    set.sort();
    set.dedup();
    set
}

/// How many of ten thousand usual lines hold one of the texts, and a little for each of them.
fn cost(set: &[Literal]) -> u32 {
    set.iter()
        .map(|literal| LINES * usual::lines(literal) + usual::hits(&literal.text) + 1)
        .sum()
}

/// Every set that a match must satisfy, as far as they are found.
fn sets(hir: &Hir) -> Vec<Set> {
    if let Some(texts) = finite(hir) {
        return vec![texts];
    }
    match hir.kind() {
        HirKind::Capture(capture) => sets(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => match finite(&repetition.sub) {
            Some(texts) if texts.len() == 1 => vec![vec![repeated(&texts[0], repetition.min)]],
            _ => sets(&repetition.sub),
        },
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                match rarest(sets(branch)) {
                    Some(set) => all.extend(set),
                    None => return Vec::new(),
                }
            }
            vec![all]
        }
        HirKind::Concat(parts) => of_sequence(parts),
        _ => Vec::new(),
    }
}

fn of_sequence(parts: &[Hir]) -> Vec<Set> {
    let mut all: Vec<Set> = Vec::new();
    let mut run = vec![Literal::default()];
    let mut flat = Vec::new();
    flatten(parts, &mut flat);
    for part in flat {
        // An assertion such as a word boundary is the empty text: it does not break a run.
        let texts = finite(part);
        if let Some(longer) = texts.as_ref().and_then(|texts| product(&run, texts)) {
            run = longer;
            continue;
        }
        // What is repeated stands at the end of this run and again at the start of the next.
        let mut next = vec![Literal::default()];
        if let HirKind::Repetition(repetition) = part.kind()
            && repetition.min > 0
            && let Some(texts) = finite(&repetition.sub)
        {
            let texts: Set = match texts.as_slice() {
                [one] => vec![repeated(one, repetition.min)],
                _ => texts,
            };
            if let Some(longer) = product(&run, &texts) {
                run = longer;
            } else if run.len() * texts.len() <= MOST {
                all.push(multiplied(&run, &texts));
            }
            if texts.len() <= FEW {
                next = texts;
            }
        } else if let Some(texts) = &texts {
            next.clone_from(texts);
        }
        // Longer texts may be so much rarer that there may be more of them.
        all.extend(
            texts
                .filter(|texts| run.len() * texts.len() <= MOST)
                .map(|texts| multiplied(&run, &texts)),
        );
        all.push(std::mem::replace(&mut run, next));
        all.extend(sets(part));
    }
    all.push(run);
    all
}

fn repeated(literal: &Literal, times: u32) -> Literal {
    Literal {
        text: literal.text.repeat(times.min(MAX_REPEAT) as usize),
        any_case: literal.any_case,
    }
}

/// A sequence without the groups that only name a part of it.
pub(super) fn flatten<'h>(parts: &'h [Hir], flat: &mut Vec<&'h Hir>) {
    for part in parts {
        match part.kind() {
            HirKind::Capture(capture) => match capture.sub.kind() {
                HirKind::Concat(inner) => flatten(inner, flat),
                _ => flat.push(&capture.sub),
            },
            HirKind::Concat(inner) => flatten(inner, flat),
            _ => flat.push(part),
        }
    }
}

fn shortest(set: &[Literal]) -> usize {
    set.iter().map(|literal| literal.text.len()).min().unwrap_or(0)
}

/// Every text of `starts` continued by every text of `ends`, unless that multiplies what is long enough already.
pub(super) fn product(starts: &[Literal], ends: &[Literal]) -> Option<Set> {
    let enough = if ends.len() > 4 { MIN_LEN + 1 } else { 6 };
    let many = starts.len() * ends.len();
    if ends.len() > 1 && (shortest(starts) >= enough && many > FEW || many > MOST) {
        return None;
    }
    Some(multiplied(starts, ends))
}

fn multiplied(starts: &[Literal], ends: &[Literal]) -> Set {
    starts
        .iter()
        .flat_map(|start| ends.iter().map(|end| start.then(end)))
        .collect()
}

/// All the texts that the expression stands for, if they are few.
pub(super) fn finite(hir: &Hir) -> Option<Set> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![Literal {
            text: literal.0.to_vec(),
            any_case: false,
        }]),
        HirKind::Class(Class::Bytes(class)) => match class.ranges() {
            [upper, lower] if is_letter(upper, lower) => Some(vec![Literal {
                text: vec![lower.start()],
                any_case: true,
            }]),
            ranges => {
                let mut all = Vec::new();
                for range in ranges {
                    if range.end() - range.start() >= 12 {
                        return None;
                    }
                    // Of control characters a cleaned line holds tabs alone.
                    let kept = (range.start()..=range.end()).filter(|byte| *byte >= b' ' || *byte == b'\t');
                    all.extend(kept.map(Literal::byte));
                }
                (1..=12).contains(&all.len()).then_some(all)
            }
        },
        HirKind::Look(_) | HirKind::Empty => Some(vec![Literal::default()]),
        HirKind::Capture(capture) => finite(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut all = finite(&repetition.sub)?;
            all.push(Literal::default());
            Some(all)
        }
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(finite(branch)?);
            }
            (all.len() <= MOST).then_some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![Literal::default()];
            for part in parts {
                let ends = finite(part)?;
                if all.len() * ends.len() > MOST {
                    return None;
                }
                all = product(&all, &ends)?;
            }
            Some(all)
        }
        _ => None,
    }
}

/// Whether the two ranges are one letter in either case.
fn is_letter(upper: &ClassBytesRange, lower: &ClassBytesRange) -> bool {
    upper.start() == upper.end()
        && lower.start() == lower.end()
        && upper.start().is_ascii_uppercase()
        && upper.start().to_ascii_lowercase() == lower.start()
}

#[cfg(test)]
mod tests {
    use super::demands;

    /// The texts, those in any case with a mark.
    fn of(pattern: &str) -> Vec<String> {
        demands(pattern)
            .map(|demands| demands.key)
            .unwrap_or_default()
            .into_iter()
            .map(|literal| {
                let mark = if literal.any_case { "~" } else { "" };
                format!("{mark}{}", String::from_utf8_lossy(&literal.text))
            })
            .collect()
    }

    #[test]
    fn the_rarest_literal_of_a_sequence_is_demanded() {
        assert_eq!(of(r"^error in \d+\]: zyx could not"), ["]: zyx could not"]);
        assert_eq!(of(r"^Downloading \S+ quokka"), [" quokka"]);
    }

    #[test]
    fn every_branch_has_to_give_one() {
        assert_eq!(of(r"(?:killed|aborted)\b"), ["aborted", "killed"]);
        assert!(demands(r"(?:killed|\d+)").is_none());
    }

    #[test]
    fn case_matters_where_the_pattern_says_so_and_optional_parts_may_be_there_or_not() {
        assert_eq!(
            of(r"(?i)Quokka(?: at all)? left"),
            ["~quokka at all left", "~quokka left"]
        );
        assert_eq!(of(r"^FAILED [A-Z]"), ["FAILED "]);
    }

    #[test]
    fn what_is_repeated_belongs_to_what_follows() {
        assert_eq!(of(r"^[\w .]+\.{4,}Failed$"), ["....Failed"]);
    }

    #[test]
    fn short_classes_are_multiplied_out_while_the_literal_is_short() {
        assert_eq!(of(r"\bMDX[01]\w{2}\b"), ["MDX0", "MDX1"]);
        assert_eq!(of(r"\S+\.(?:hs|lhs):\w+"), [".hs:", ".lhs:"]);
    }

    #[test]
    fn further_texts_are_told_by_the_shortest_that_they_hold() {
        let others = demands(r"^\S+\.(?:adb|pp):?\(?\d+: quokka")
            .map(|demands| demands.others)
            .unwrap_or_default();
        let texts: Vec<_> = others.iter().flatten().map(|literal| &literal.text).collect();
        assert_eq!(texts, [b".adb".as_slice(), b".pp"]);
    }

    #[test]
    fn a_pattern_without_a_literal_has_none() {
        assert!(demands(r"^\w+\s+\d+$").is_none());
    }
}
