use super::marker::{Kind, Marker};
use super::page::{self, Room, Subject};
use super::text::{clip, inline, link};

const ALL: Room = Room {
    evidence_lines: 200,
    line_chars: 2000,
    history: 50,
    items: 50,
    text: 4000,
};

/// From all there is to the verdict alone; evidence goes first, then history, then lists, then words.
fn rooms() -> impl Iterator<Item = Room> {
    let evidence = [120, 60, 30, 15, 8, 4, 2, 1].map(|evidence_lines| Room {
        evidence_lines,
        line_chars: 400,
        ..ALL
    });
    let bare = Room {
        evidence_lines: 0,
        line_chars: 0,
        ..ALL
    };
    let history = [10, 3, 0].map(|history| Room { history, ..bare });
    let short = Room { history: 0, ..bare };
    let items = [20, 8, 3, 0].map(|items| Room { items, ..short });
    let text = [1000, 300, 100, 40].map(|text| Room {
        items: 0,
        text,
        ..short
    });
    [ALL]
        .into_iter()
        .chain(evidence)
        .chain(history)
        .chain(items)
        .chain(text)
}

/// The task's living note, in at most `limit` characters.
pub fn living(subject: &Subject<'_>, limit: usize) -> String {
    let marker = Marker::new(subject.task, Kind::Living);
    fit(limit, &marker, |room| {
        let report = subject.report;
        let mut blocks = vec![page::head(report, room), inline(&report.summary, room.text)];
        blocks.extend(page::facts(report, room));
        blocks.extend(
            report
                .evidence
                .iter()
                .take(room.items.max(1))
                .map(|e| page::evidence(e, room)),
        );
        blocks.extend(page::why(report, room));
        blocks.extend(page::next_steps(report, room));
        blocks.extend(page::follow_ons(report, room));
        blocks.extend(page::history(subject.history, room));
        blocks.push(page::footer(subject));
        blocks
    })
}

/// The note that calls a person: what happened and what to do. The rest stands in the living note, and is not told twice.
pub fn moment(subject: &Subject<'_>, number: u32, living_url: Option<&str>, limit: usize) -> String {
    let marker = Marker::new(subject.task, Kind::Moment(number));
    fit(limit, &marker, |room| {
        let report = subject.report;
        let room = Room {
            evidence_lines: room.evidence_lines.min(7),
            items: room.items.min(8),
            ..room
        };
        let mut blocks = vec![page::head(report, room), inline(&report.summary, room.text)];
        if living_url.is_none() {
            blocks.extend(report.evidence.first().map(|e| page::evidence(e, room)));
        }
        blocks.extend(page::next_steps(report, room));
        match living_url {
            None => blocks.extend(page::follow_ons(report, room)),
            Some(url) => blocks.push(format!(
                "The whole story, with facts, evidence and history: {}.",
                link("this task's comment", url)
            )),
        }
        blocks.push(page::footer(subject));
        blocks
    })
}

fn fit(limit: usize, marker: &Marker, blocks: impl Fn(Room) -> Vec<String>) -> String {
    let mut body = String::new();
    for room in rooms() {
        body = blocks(room)
            .into_iter()
            .filter(|block| !block.is_empty())
            .collect::<Vec<_>>()
            .join("\n\n");
        body = format!("{body}\n\n{marker}");
        if body.chars().count() <= limit {
            return body;
        }
    }
    // Even the words are too many: the first line, which holds no fence, and the marker.
    let room = limit.saturating_sub(marker.to_string().chars().count() + 2);
    format!(
        "{}\n\n{marker}",
        clip(body.lines().next().unwrap_or_default(), room)
    )
}
