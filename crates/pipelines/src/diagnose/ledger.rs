//! Keeps what the scan found, bounded whatever the log's length: for each rule one line per state of the step
//! that the line stands in.

use std::collections::HashMap;
use std::ops::Range;

use super::form::{MarkKind, Pick};
use super::rules::Rank;

/// Matches of one rule that lie closer than this, in lines, are one run of the same failure.
const RUN_GAP: u64 = 12;

/// A line that matched a rule, with the raw lines around it.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub line: u64,
    /// The cleaned text.
    pub text: String,
    pub captures: Captures,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
    pub rank: Rank,
    /// The line is itself one of the machinery's marks.
    pub is_mark: bool,
    /// Where the line stands in its block, until its surroundings are copied: most lines are replaced by later ones
    /// before the block ends.
    pub owed: Option<Range<usize>>,
}

/// What the named groups of a line's pattern hold.
#[derive(Debug, Clone)]
pub(super) enum Captures {
    /// The line has no pattern, or none that matters.
    None,
    /// What the pattern of this number finds in the kept text: asked for only where the line decides.
    InText(u32),
    /// Taken from a text that is not kept as a whole.
    Taken(Vec<(String, String)>),
}

/// Where the step of a line ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum State {
    /// In the first step that failed.
    FirstFailed,
    /// In a step that failed after another had.
    Failed,
    /// In a step of which nothing is said.
    Open,
    /// Behind a failed step, in none that failed.
    After,
    /// In the tidying up.
    Cleanup,
    /// Before a command that would not have run had this one failed, as far as the job's script is known.
    Behind,
    /// In a step that ended well.
    Passed,
}

#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub hit: Hit,
    pub count: u32,
    pub state: State,
    /// The last line of the step the hit stands in.
    pub step_end: u64,
    pub step_exit: Option<i32>,
    last_line: u64,
}

/// A mark's line, remembered for the verdict.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub line: u64,
    pub exit: Option<i32>,
    pub hit: Hit,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    open: HashMap<u16, Kept>,
    closed: HashMap<(u16, State), Kept>,
    step_errors: u32,
    failed_steps: u32,
    cleaning: bool,
    /// Where an attempt last failed: what follows is a new run.
    retried_at: u64,
    pub first_failed: Option<Seen>,
    pub last_failed: Option<Seen>,
    /// The job's own last word.
    pub job: Option<(MarkKind, Seen)>,
    pub job_end: Option<Seen>,
    pub step_error: Option<Seen>,
    pub tool_ok: Option<Seen>,
    pub tool_failed: Option<Seen>,
    pub exit_code: Option<(u64, i32)>,
    /// The command of the step that is being read, as far as its echo tells.
    command: String,
    /// The first line of the last run of lines that call themselves errors, in this step, and the run's last line.
    complaint: Option<(Hit, u64)>,
    /// The command and the complaint of the first step that failed.
    pub failing: Option<(String, Option<Hit>)>,
}

impl Ledger {
    /// Whether a further match of `rule` at `line` would be kept; asked before the costly parts of a hit are made.
    pub fn wants(&self, rule: u16, line: u64, pick: Pick) -> bool {
        match self.open.get(&rule) {
            None => true,
            Some(kept) => {
                pick == Pick::Last
                    || line.saturating_sub(kept.last_line) > RUN_GAP
                    || kept.last_line < self.retried_at
            }
        }
    }

    /// Counts a match that is not kept.
    pub fn count(&mut self, rule: u16, line: u64) {
        if let Some(kept) = self.open.get_mut(&rule) {
            kept.count = kept.count.saturating_add(1);
            kept.last_line = line;
        }
    }

    /// Whether a line that calls itself an error begins a new run of such lines; counted into the last one if not.
    pub fn wants_complaint(&mut self, line: u64) -> bool {
        match &mut self.complaint {
            Some((_, last)) if line.saturating_sub(*last) <= RUN_GAP => {
                *last = line;
                false
            }
            _ => true,
        }
    }

    pub fn complain(&mut self, hit: Hit) {
        let line = hit.line;
        self.complaint = Some((hit, line));
    }

    /// Every line that is kept, in no order.
    pub fn kept_lines(&mut self) -> impl Iterator<Item = &mut Hit> {
        let seen = [
            &mut self.first_failed,
            &mut self.last_failed,
            &mut self.job_end,
            &mut self.step_error,
            &mut self.tool_ok,
            &mut self.tool_failed,
        ];
        let failing = self.failing.as_mut().and_then(|(_, hit)| hit.as_mut());
        let rules = self.open.values_mut().chain(self.closed.values_mut());
        rules
            .map(|kept| &mut kept.hit)
            .chain(seen.into_iter().flatten().map(|seen| &mut seen.hit))
            .chain(self.job.as_mut().map(|(_, seen)| &mut seen.hit))
            .chain(self.complaint.as_mut().map(|(hit, _)| hit))
            .chain(failing)
    }

    pub fn keep(&mut self, rule: u16, hit: Hit) {
        let count = self
            .open
            .get(&rule)
            .map_or(0, |kept| kept.count)
            .saturating_add(1);
        let last_line = hit.line;
        let kept = Kept {
            hit,
            count,
            state: State::Open,
            step_end: last_line,
            step_exit: None,
            last_line,
        };
        self.open.insert(rule, kept);
    }

    /// Takes a mark at `line`; `hit` makes the line itself, which few kinds of marks need.
    pub fn mark(&mut self, kind: MarkKind, exit: Option<i32>, line: u64, hit: impl FnOnce() -> Hit) {
        let seen = || Seen {
            line,
            exit,
            hit: hit(),
        };
        if let Some(code) = exit {
            let replaces =
                code != 0 && self.first_failed.is_none() && self.exit_code.is_none_or(|(at, _)| at < line);
            if replaces {
                self.exit_code = Some((line, code));
            }
        }
        match kind {
            MarkKind::StepStart => {
                let command = seen().hit.text;
                self.next_command(line, &command);
            }
            MarkKind::NextCommand => {
                if !self.cleaning && self.step_errors == 0 && self.failed_steps == 0 {
                    self.close(State::Behind, line, None);
                }
            }
            MarkKind::StepOk => self.close(
                if self.cleaning {
                    State::Cleanup
                } else {
                    State::Passed
                },
                line,
                exit,
            ),
            MarkKind::ScriptOk => {
                self.close(State::Passed, line, exit);
                self.pass_all();
                self.cleaning = false;
            }
            MarkKind::StepFailed => {
                if !self.cleaning {
                    let seen = seen();
                    if let Some(command) = seen.hit.text.strip_prefix("The command \"") {
                        command.clone_into(&mut self.command);
                    }
                    if self.first_failed.is_none() {
                        self.first_failed = Some(seen.clone());
                    }
                    self.last_failed = Some(seen);
                    let state = self.failing_state();
                    self.failed_steps += 1;
                    self.close(state, line, exit);
                } else {
                    self.close(State::Cleanup, line, exit);
                }
            }
            MarkKind::StepError => {
                if !self.cleaning {
                    self.step_errors += 1;
                    self.step_error.get_or_insert_with(seen);
                }
            }
            MarkKind::Retrying => self.retried_at = line,
            MarkKind::Cleanup => {
                if !self.cleaning {
                    let state = if self.step_errors > 0 {
                        self.failing_state()
                    } else {
                        self.quiet_state()
                    };
                    self.close(state, line, None);
                    self.cleaning = true;
                }
            }
            MarkKind::JobOk | MarkKind::JobFailed => self.job = Some((kind, seen())),
            MarkKind::JobEnd => self.job_end = Some(seen()),
            MarkKind::ToolOk => self.tool_ok = Some(seen()),
            MarkKind::ToolFailed => self.tool_failed = Some(seen()),
            MarkKind::ExitCode => {}
        }
    }

    /// The script goes on, so what ran before went well unless it said otherwise.
    pub fn next_command(&mut self, line: u64, command: &str) {
        let state = if self.cleaning {
            State::Cleanup
        } else if self.step_errors > 0 {
            let state = self.failing_state();
            self.failed_steps += 1;
            state
        } else {
            State::Passed
        };
        self.close(state, line, None);
        command.clone_into(&mut self.command);
    }

    /// Marks what is kept as found in steps that ended well.
    fn pass_all(&mut self) {
        let mut all: Vec<((u16, State), Kept)> = self.closed.drain().collect();
        all.sort_by_key(|((rule, _), kept)| (*rule, kept.hit.line));
        for ((rule, _), mut kept) in all {
            kept.state = State::Passed;
            self.closed.insert((rule, State::Passed), kept);
        }
        self.first_failed = None;
        self.last_failed = None;
        self.step_error = None;
        self.failed_steps = 0;
    }

    fn failing_state(&self) -> State {
        if self.failed_steps == 0 {
            State::FirstFailed
        } else {
            State::Failed
        }
    }

    fn quiet_state(&self) -> State {
        if self.failed_steps == 0 {
            State::Open
        } else {
            State::After
        }
    }

    fn close(&mut self, state: State, line: u64, exit: Option<i32>) {
        self.step_errors = 0;
        let complaint = self.complaint.take().map(|(hit, _)| hit);
        if matches!(state, State::FirstFailed | State::Open) && self.failing.is_none() {
            self.failing = Some((self.command.clone(), complaint));
        }
        for (rule, mut kept) in self.open.drain() {
            kept.state = state;
            kept.step_end = line;
            kept.step_exit = exit;
            // The first failed step holds the cause; of steps in another state the latest counts.
            self.closed.insert((rule, state), kept);
        }
    }

    /// Ends the log at `last_line` and gives up everything that was kept.
    pub fn finish(&mut self, last_line: u64) -> Vec<(u16, Kept)> {
        let state = if self.cleaning {
            State::Cleanup
        } else if self.step_errors > 0 {
            self.failing_state()
        } else {
            self.quiet_state()
        };
        self.close(state, last_line, None);
        let mut all: Vec<(u16, Kept)> = self
            .closed
            .drain()
            .map(|((rule, _), kept)| (rule, kept))
            .collect();
        all.sort_by_key(|(rule, kept)| (*rule, kept.state));
        all
    }
}
