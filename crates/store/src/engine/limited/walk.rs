//! The walk over the heads of all groups, best first. Pure: what it needs is read for it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::Candidate;

/// Which pending tasks come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// 10 first, then the oldest.
    Urgency,
    /// The oldest, whatever their priority.
    Age,
}

/// A task's place in an order; the greatest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    priority: i32,
    /// Microseconds since 1970.
    created: Reverse<i64>,
}

impl Order {
    pub(super) fn place(self, priority: i32, created: i64) -> Place {
        Place {
            priority: match self {
                Self::Urgency => priority,
                Self::Age => 0,
            },
            created: Reverse(created),
        }
    }
}

/// The first of a group that were read.
#[derive(Debug, Default)]
struct Buffer {
    heads: VecDeque<(Place, Candidate)>,
    /// How many were asked for the last time.
    asked: usize,
    /// There are no more than these.
    is_all: bool,
}

/// Groups of tasks, and of each those that are known to come first in it.
#[derive(Debug)]
pub(super) struct Walk {
    buffers: Vec<Buffer>,
    /// Each group's first, of those that have one.
    heap: BinaryHeap<(Place, usize)>,
    /// Groups whose first found no room.
    full: Vec<usize>,
    /// Groups of which all that was read is taken, and that have more.
    dry: Vec<usize>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Task(Candidate),
    /// So many more of this group must be read first.
    Dry(usize, usize),
    End,
}

impl Walk {
    pub(super) fn new(groups: usize) -> Self {
        Self {
            buffers: (0..groups).map(|_| Buffer::default()).collect(),
            heap: BinaryHeap::new(),
            full: Vec::new(),
            dry: Vec::new(),
        }
    }

    /// Tells what was read of a group, in order, when `asked` were asked for.
    pub(super) fn fill(&mut self, group: usize, asked: usize, heads: Vec<(Place, Candidate)>) {
        let Some(buffer) = self.buffers.get_mut(group) else {
            return;
        };
        buffer.is_all = heads.len() < asked;
        buffer.asked = asked;
        buffer.heads.extend(heads);
        self.line_up(group);
    }

    fn line_up(&mut self, group: usize) {
        if let Some((place, _)) = self.buffers.get(group).and_then(|buffer| buffer.heads.front()) {
            self.heap.push((*place, group));
        }
    }

    /// The best of the tasks whose group has room.
    pub(super) fn next(&mut self, has_room: impl Fn(usize) -> bool) -> Next {
        // What a dry group still has may come before every other's first.
        if let Some(at) = self.dry.iter().position(|group| has_room(*group)) {
            let group = self.dry.swap_remove(at);
            let asked = self.buffers.get(group).map_or(1, |buffer| buffer.asked);
            return Next::Dry(group, asked.saturating_mul(4));
        }
        while let Some((_, group)) = self.heap.pop() {
            if !has_room(group) {
                self.full.push(group);
                continue;
            }
            let Some(buffer) = self.buffers.get_mut(group) else {
                continue;
            };
            let Some((_, task)) = buffer.heads.pop_front() else {
                continue;
            };
            if buffer.heads.is_empty() && !buffer.is_all {
                self.dry.push(group);
            }
            self.line_up(group);
            return Next::Task(task);
        }
        Next::End
    }

    /// Places became free again.
    pub(super) fn look_again(&mut self) {
        for group in std::mem::take(&mut self.full) {
            self.line_up(group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tasks called after their priority and age.
    fn heads(order: Order, tasks: &[(i32, i64)]) -> Vec<(Place, Candidate)> {
        tasks
            .iter()
            .map(|(priority, created)| {
                let task = Candidate {
                    id: format!("{priority}/{created}"),
                    task_type: String::new(),
                    repo_id: None,
                };
                (order.place(*priority, *created), task)
            })
            .collect()
    }

    fn next(walk: &mut Walk, rooms: &[usize]) -> String {
        match walk.next(|group| rooms[group] > 0) {
            Next::Task(task) => task.id,
            Next::Dry(group, more) => format!("{group} is dry, {more} more"),
            Next::End => "end".to_owned(),
        }
    }

    #[test]
    fn the_best_of_all_groups_comes_first_and_a_full_group_is_passed_by() {
        let mut walk = Walk::new(3);
        walk.fill(0, 9, heads(Order::Urgency, &[(9, 5), (8, 1)]));
        walk.fill(1, 9, heads(Order::Urgency, &[(9, 4), (9, 6), (1, 0)]));
        walk.fill(2, 9, Vec::new());
        assert_eq!(next(&mut walk, &[1, 1, 1]), "9/4");
        assert_eq!(next(&mut walk, &[1, 0, 1]), "9/5");
        assert_eq!(next(&mut walk, &[0, 0, 1]), "end");
        walk.look_again();
        assert_eq!(next(&mut walk, &[1, 1, 1]), "9/6");
        assert_eq!(next(&mut walk, &[1, 1, 1]), "8/1");
        assert_eq!(next(&mut walk, &[1, 1, 1]), "1/0");
        assert_eq!(next(&mut walk, &[1, 1, 1]), "end");
    }

    #[test]
    fn by_age_priority_counts_for_nothing() {
        let mut walk = Walk::new(2);
        walk.fill(0, 9, heads(Order::Age, &[(1, 1), (10, 4)]));
        walk.fill(1, 9, heads(Order::Age, &[(9, 2)]));
        let order: Vec<String> = (0..3).map(|_| next(&mut walk, &[1, 1])).collect();
        assert_eq!(order, ["1/1", "9/2", "10/4"]);
    }

    #[test]
    fn what_was_not_read_yet_is_asked_for_before_anything_worse_is_taken() {
        let mut walk = Walk::new(2);
        walk.fill(0, 1, heads(Order::Urgency, &[(9, 1)]));
        walk.fill(1, 1, heads(Order::Urgency, &[(5, 1)]));
        assert_eq!(next(&mut walk, &[1, 1]), "9/1");
        assert_eq!(next(&mut walk, &[1, 1]), "0 is dry, 4 more");
        walk.fill(0, 4, heads(Order::Urgency, &[(8, 1)]));
        assert_eq!(next(&mut walk, &[1, 1]), "8/1");
        assert_eq!(next(&mut walk, &[1, 1]), "5/1");
        assert_eq!(
            next(&mut walk, &[1, 0]),
            "end",
            "nothing is read for a full group"
        );
        assert_eq!(next(&mut walk, &[1, 1]), "1 is dry, 4 more");
    }
}
