use super::{Node, Program, Rng};
use crate::faulty::{Fault, Plan, Point, Side};

/// Draws programs whose end does not depend on how fast anybody is: whatever goes wrong on the way, they have
/// one right end.
///
/// So failures that end a run stand at top level only (in a branch it would be chance how far the others
/// came), signals with a limit never come, and locks are asked for in one order (or tasks could wait for each
/// other for ever).
pub struct Generator<'a> {
    rng: &'a mut Rng,
    made: u32,
}

impl<'a> Generator<'a> {
    pub fn new(rng: &'a mut Rng) -> Self {
        Self { rng, made: 0 }
    }

    /// With `alone` its unwinding may fail: then it is held and keeps its locks, and nobody must wait for it.
    pub fn program(&mut self, alone: bool) -> Program {
        let mut program = self.sized(8, 2, 0);
        if alone && self.rng.one_in(10) {
            let key = self.key("stuck");
            program.unwind.push(Node::Fail { key, caught: false });
        }
        program
    }

    fn sized(&mut self, size: u32, depth: u32, mut lowest_lock: u32) -> Program {
        let mut run = self.sequence(size, depth, &mut lowest_lock);
        if self.rng.one_in(4) {
            let place = self.rng.below(u32::try_from(run.len()).unwrap_or(0) + 1) as usize;
            let key = self.key("end");
            run.insert(
                place,
                match self.rng.below(3) {
                    0 => Node::Fail { key, caught: false },
                    1 => Node::GiveUp { key },
                    _ => Node::Panic { key },
                },
            );
        }
        let mut unwind = Vec::new();
        if self.rng.one_in(2) {
            unwind = self.sequence(3, depth, &mut lowest_lock);
        }
        Program { run, unwind }
    }

    fn sequence(&mut self, size: u32, depth: u32, lowest_lock: &mut u32) -> Vec<Node> {
        let length = 1 + self.rng.below(size);
        (0..length).map(|_| self.node(depth, lowest_lock)).collect()
    }

    fn node(&mut self, depth: u32, lowest_lock: &mut u32) -> Node {
        loop {
            return match self.rng.below(if depth > 0 { 14 } else { 10 }) {
                0 | 1 => Node::Step {
                    key: self.key("step"),
                    flaky: self.flaky(),
                },
                2..=4 => Node::Effect {
                    key: self.key("effect"),
                    flaky: self.flaky(),
                    cut: self.rng.one_in(4),
                },
                5 => Node::Fail {
                    key: self.key("fail"),
                    caught: true,
                },
                6 => Node::Sleep {
                    key: self.key("sleep"),
                    seconds: u64::from(self.rng.below(3) * 60),
                },
                7 => Node::Wait {
                    limit: self.rng.one_in(2).then_some(90),
                    key: self.key("signal"),
                },
                8 => Node::Tell {
                    key: self.key("tell"),
                },
                9 => Node::Remember {
                    key: self.key("memory"),
                },
                10 | 11 => {
                    let child = self.sized(4, depth - 1, *lowest_lock);
                    Node::Spawn {
                        key: self.key("spawn"),
                        child,
                        awaited: !self.rng.one_in(4),
                    }
                }
                12 if *lowest_lock < 3 => {
                    let resource = *lowest_lock + self.rng.below(3 - *lowest_lock);
                    *lowest_lock = resource + 1;
                    Node::Lock {
                        resource: format!("resource-{resource}"),
                    }
                }
                12 => continue,
                _ => {
                    let name = self.key("branches");
                    // Branches take no locks and make no children: in which order they did would be chance.
                    let of = (0..2 + self.rng.below(2))
                        .map(|_| self.sequence(3, 0, &mut 3))
                        .collect();
                    Node::Branches { name, of }
                }
            };
        }
    }

    fn flaky(&mut self) -> u32 {
        if self.rng.one_in(5) {
            1 + self.rng.below(2)
        } else {
            0
        }
    }

    fn key(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{kind}-{}", self.made)
    }
}

/// Draws what goes wrong in a run that takes about `calls` calls when nothing does.
pub fn faults(rng: &mut Rng, calls: usize) -> Plan {
    let span = u32::try_from(calls + calls / 3 + 2).unwrap_or(u32::MAX);
    let mut plan: Plan = (0..=rng.below(3))
        .map(|_| {
            let side = if rng.one_in(2) { Side::Before } else { Side::After };
            let point = Point {
                call: rng.below(span) as usize,
                side,
            };
            let fault = match rng.below(8) {
                0..=2 => Fault::Crash,
                3 => Fault::LeaseLoss,
                4 => Fault::Broken,
                5 if side == Side::Before => Fault::Pause,
                6 => Fault::EarlySignals,
                _ => Fault::Advance(std::time::Duration::from_secs(45)),
            };
            (point, fault)
        })
        .collect();
    if rng.one_in(4) {
        let side = if rng.one_in(2) { Side::Before } else { Side::After };
        let told = rng.one_in(2);
        let point = Point {
            call: rng.below(span) as usize,
            side,
        };
        plan.push((point, Fault::Cancel { told }));
    }
    plan
}

/// Programs that are smaller by one thing each.
pub fn smaller(program: &Program) -> Vec<Program> {
    let mut all = Vec::new();
    for run in smaller_nodes(&program.run) {
        all.push(Program {
            run,
            unwind: program.unwind.clone(),
        });
    }
    for unwind in smaller_nodes(&program.unwind) {
        all.push(Program {
            run: program.run.clone(),
            unwind,
        });
    }
    all
}

fn smaller_nodes(nodes: &[Node]) -> Vec<Vec<Node>> {
    let mut all = Vec::new();
    for place in 0..nodes.len() {
        let replaced = |node: Node| {
            let mut copy = nodes.to_vec();
            copy[place] = node;
            copy
        };
        let mut without = nodes.to_vec();
        without.remove(place);
        all.push(without);
        match &nodes[place] {
            Node::Spawn { key, child, awaited } => {
                all.extend(smaller(child).into_iter().map(|child| {
                    replaced(Node::Spawn {
                        key: key.clone(),
                        child,
                        awaited: *awaited,
                    })
                }));
            }
            Node::Branches { name, of } => {
                for branch in 0..of.len() {
                    for less in smaller_nodes(&of[branch]) {
                        let mut of = of.clone();
                        of[branch] = less;
                        all.push(replaced(Node::Branches {
                            name: name.clone(),
                            of,
                        }));
                    }
                }
            }
            Node::Step { key, flaky } if *flaky > 0 => {
                all.push(replaced(Node::Step {
                    key: key.clone(),
                    flaky: 0,
                }));
            }
            Node::Effect { key, flaky, cut } if *flaky > 0 || *cut => {
                all.push(replaced(Node::Effect {
                    key: key.clone(),
                    flaky: 0,
                    cut: false,
                }));
            }
            _ => {}
        }
    }
    all
}
