//! Which literals a line must contain for a pattern to match it.
//!
//! One pass over the raw bytes looks for all of them; only a line that holds one is cleaned and
//! shown to the patterns. Literals are lower case, because that pass ignores ASCII case.

use regex_syntax::hir::{Class, Hir, HirKind};

/// A repeated text is written out this many times at most.
const MAX_REPEAT: u32 = 14;
/// Shorter ones hit every other line.
const MIN_LEN: usize = super::prefilter::GRAM;
/// More alternatives than this are not multiplied out.
const MOST: usize = 24;

/// A set of literals of which every match of the pattern contains at least one; `None` when the pattern
/// demands nothing long enough.
pub fn required(pattern: &str) -> Option<Vec<String>> {
    let hir = regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(pattern)
        .ok()?;
    let set = best(&hir)?;
    if shortest(&set) < MIN_LEN {
        return None;
    }
    let mut texts = Vec::with_capacity(set.len());
    for bytes in set {
        texts.push(String::from_utf8(bytes).ok()?);
    }
    texts.sort();
    texts.dedup();
    Some(texts)
}

fn best(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    if let Some(texts) = finite(hir) {
        return (shortest(&texts) > 0).then_some(texts);
    }
    match hir.kind() {
        HirKind::Capture(capture) => best(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => match finite(&repetition.sub) {
            Some(texts) if texts.len() == 1 => Some(vec![
                texts.concat().repeat(repetition.min.min(MAX_REPEAT) as usize),
            ]),
            _ => best(&repetition.sub),
        },
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(best(branch)?);
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            let mut candidates: Vec<Vec<Vec<u8>>> = Vec::new();
            let mut run = vec![Vec::new()];
            let mut flat = Vec::new();
            flatten(parts, &mut flat);
            for part in flat {
                // An assertion such as a word boundary is the empty text: it does not break a run.
                match finite(part).and_then(|texts| product(&run, &texts)) {
                    Some(longer) => run = longer,
                    None => {
                        if let HirKind::Repetition(repetition) = part.kind()
                            && repetition.min > 0
                            && let Some(longer) =
                                finite(&repetition.sub).and_then(|texts| product(&run, &texts))
                        {
                            run = longer;
                        }
                        candidates.push(std::mem::replace(&mut run, vec![Vec::new()]));
                        candidates.extend(best(part));
                    }
                }
            }
            candidates.push(run);
            candidates
                .into_iter()
                .filter(|set| shortest(set) > 0)
                .min_by_key(|set| (worst(set), set.len()))
        }
        _ => None,
    }
}

/// A sequence without the groups that only name a part of it.
fn flatten<'h>(parts: &'h [Hir], flat: &mut Vec<&'h Hir>) {
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

/// The cost of the set's commonest literal.
fn worst(set: &[Vec<u8>]) -> u32 {
    set.iter()
        .map(|literal| super::prefilter::literal_cost(literal).unwrap_or(u32::MAX))
        .max()
        .unwrap_or(u32::MAX)
}

fn shortest(set: &[Vec<u8>]) -> usize {
    set.iter().map(Vec::len).min().unwrap_or(0)
}

/// Every text of `starts` continued by every text of `ends`, unless that multiplies what is long enough already.
fn product(starts: &[Vec<u8>], ends: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let enough = if ends.len() > 4 { MIN_LEN } else { 6 };
    if ends.len() > 1 && (shortest(starts) >= enough || starts.len() * ends.len() > MOST) {
        return None;
    }
    let mut all = Vec::with_capacity(starts.len() * ends.len());
    for start in starts {
        all.extend(ends.iter().map(|end| [start.as_slice(), end].concat()));
    }
    Some(all)
}

/// All the texts, lower case, that the expression stands for, if they are few.
fn finite(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(Class::Bytes(class)) => {
            let mut all = Vec::new();
            for range in class.ranges() {
                if range.end() - range.start() >= 12 {
                    return None;
                }
                all.extend((range.start()..=range.end()).map(|byte| vec![byte.to_ascii_lowercase()]));
            }
            all.sort();
            all.dedup();
            (all.len() <= 12).then_some(all)
        }
        HirKind::Look(_) | HirKind::Empty => Some(vec![Vec::new()]),
        HirKind::Capture(capture) => finite(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut all = finite(&repetition.sub)?;
            all.push(Vec::new());
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
            let mut all = vec![Vec::new()];
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

#[cfg(test)]
mod tests {
    use super::required;

    fn of(pattern: &str) -> Vec<String> {
        required(pattern).unwrap_or_default()
    }

    #[test]
    fn the_longest_literal_of_a_sequence_is_demanded() {
        assert_eq!(of(r"^error\[E\d+\]: could not"), ["]: could not"]);
    }

    #[test]
    fn every_branch_has_to_give_one() {
        assert_eq!(of(r"(?:killed|aborted)\b"), ["aborted", "killed"]);
        assert_eq!(required(r"(?:killed|\d+)"), None);
    }

    #[test]
    fn case_is_folded_and_optional_parts_do_not_count() {
        assert_eq!(of(r"(?i)No Space(?: at all)? left"), [" left"]);
    }

    #[test]
    fn short_classes_are_multiplied_out_while_the_literal_is_short() {
        assert_eq!(of(r"\bMDX[01]\d{2}\b"), ["mdx0", "mdx1"]);
        assert_eq!(of(r"\S+\.(?:hs|lhs):\d+"), [".hs:", ".lhs:"]);
    }

    #[test]
    fn a_pattern_without_a_literal_has_none() {
        assert_eq!(required(r"^\w+\s+\d+$"), None);
    }
}
