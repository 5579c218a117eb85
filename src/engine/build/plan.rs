//! Which stages a target needs. Pure.

use std::collections::BTreeSet;

use crate::base::{Error, Result};
use crate::model::build::{Action, Base, Graph, MountKind, Origin, Source, Step};

/// How deep groups of steps may be in each other.
const MOST_GROUPS: usize = 16;
/// The most stages that a target may need: each has a thread.
const MOST_STAGES: usize = 2000;

/// The stages that the target needs; each uses stages before it alone.
pub(super) fn needed(graph: &Graph) -> Result<BTreeSet<usize>> {
    let mut needed = BTreeSet::new();
    let mut pending = vec![graph.target];
    while let Some(index) = pending.pop() {
        let Some(stage) = graph.stages.get(index) else {
            return Err(Error::invalid(format!("there is no stage {index}")));
        };
        if !needed.insert(index) {
            continue;
        }
        if needed.len() > MOST_STAGES {
            return Err(Error::unsupported(format!("the target needs more than {MOST_STAGES} stages")));
        }
        let mut used = Vec::new();
        if let Base::Stage(base) = &stage.base {
            used.push(*base);
        }
        stages_of(&stage.steps, &mut used, 0)?;
        if let Some(later) = used.iter().find(|used| **used >= index) {
            let name = |index: usize| graph.stages.get(index).and_then(|stage| stage.name.clone());
            let (this, that) = (name(index).unwrap_or(index.to_string()), name(*later).unwrap_or(later.to_string()));
            return Err(Error::invalid(format!("the stage {this:?} needs {that:?}, which does not come before it"))
                .with_hint("stages cannot need each other in a circle"));
        }
        pending.extend(used);
    }
    Ok(needed)
}

fn stages_of(steps: &[Step], used: &mut Vec<usize>, level: usize) -> Result<()> {
    if level > MOST_GROUPS {
        return Err(Error::invalid("groups of steps are too deep in each other"));
    }
    let mut add = |origin: &Origin| {
        if let Origin::Stage(index) = origin {
            used.push(*index);
        }
    };
    for step in steps {
        match &step.action {
            Action::Run(run) => {
                run.mounts.iter().for_each(|mount| match &mount.kind {
                    MountKind::Bind { from, .. } => add(from),
                    MountKind::Cache(cache) => cache.from.iter().for_each(&mut add),
                    _ => {}
                });
                run.services.iter().for_each(|service| add(&service.image));
            }
            Action::Copy(copy) => copy.sources.iter().for_each(|source| {
                if let Source::Path { from, .. } = source {
                    add(from);
                }
            }),
            Action::Config(_) => {}
            Action::Layer(_) => {}
        }
    }
    for step in steps {
        if let Action::Layer(steps) = &step.action {
            stages_of(steps, used, level + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build::Stage;

    fn graph(bases: &[Base], target: usize) -> Graph {
        let stages = bases.iter().map(|base| Stage { base: base.clone(), ..Stage::default() }).collect();
        Graph { stages, target, ..Graph::default() }
    }

    #[test]
    fn only_what_the_target_uses_is_needed() {
        let graph = graph(&[Base::Scratch, Base::Scratch, Base::Stage(0)], 2);
        assert_eq!(needed(&graph).unwrap().into_iter().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_chain_is_no_longer_than_there_can_be_threads() {
        let chain = |length: usize| {
            graph(
                &(0..length)
                    .map(|at| match at {
                        0 => Base::Scratch,
                        at => Base::Stage(at - 1),
                    })
                    .collect::<Vec<_>>(),
                length - 1,
            )
        };
        assert_eq!(needed(&chain(MOST_STAGES)).unwrap().len(), MOST_STAGES);
        assert!(needed(&chain(MOST_STAGES + 1)).is_err());
    }

    #[test]
    fn a_circle_and_a_stage_that_is_not_there_are_refused() {
        for (bases, target) in [
            (vec![Base::Stage(0)], 0),
            (vec![Base::Stage(1), Base::Stage(0)], 1),
            (vec![Base::Stage(7)], 0),
            (vec![], 0),
        ] {
            assert!(needed(&graph(&bases, target)).is_err(), "{bases:?}");
        }
    }
}
