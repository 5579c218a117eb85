//! Which stages the target needs, and in which order.

use crate::base::{Error, Result, suggest};
use crate::docker::dockerfile::ast::{Dockerfile, Instruction, InstructionKind, Word};
use crate::docker::dockerfile::translate::variables::Globals;
use crate::docker::dockerfile::translate::{Named, Options, expanded};
use crate::docker::dockerfile::{at, mount, parse_trigger};
use crate::model::build::Origin;

/// What a stage begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum From {
    Scratch,
    Stage(usize),
    Image(String),
    /// A folder given with `--build-context`: its files on top of nothing.
    Folder(String),
}

/// The stages of a file and their order.
#[derive(Debug)]
pub(crate) struct Plan {
    /// For each stage of the file.
    pub(crate) bases: Vec<From>,
    pub(crate) platforms: Vec<Option<String>>,
    names: Vec<Option<String>>,
    /// The stages that are needed, each behind those that it needs.
    pub(crate) order: Vec<usize>,
    places: Vec<usize>,
}

impl Plan {
    /// Where a stage of the file is in the graph.
    pub(crate) fn place(&self, stage: usize) -> usize {
        self.places[stage]
    }

    /// The stage of the file that a `--from` means: a number, or the last stage before with that name, or one behind.
    fn stage(&self, own: usize, from: &str) -> Option<usize> {
        if let Ok(number) = from.parse::<usize>() {
            return (number < self.names.len()).then_some(number);
        }
        named(&self.names, own, from)
    }

    /// What a `--from` means, in the graph.
    pub(crate) fn origin(&self, own: usize, from: &str, options: &Options) -> Option<Origin> {
        if let Some(stage) = self.stage(own, from) {
            let place = self.places[stage];
            return (place < self.places[own]).then_some(Origin::Stage(place));
        }
        Some(match options.named.get(from) {
            Some(Named::Image(reference)) => Origin::Image(reference.clone()),
            Some(Named::Folder(..)) => {
                let folders = options.named.iter().filter(|(_, named)| matches!(named, Named::Folder(..)));
                let index = folders.map(|(name, _)| name).position(|name| name == from).expect("it is one of them");
                Origin::Context(index + 1)
            }
            None => Origin::Image(from.to_owned()),
        })
    }
}

/// The last stage of this name before `own`, or the first one behind.
fn named(names: &[Option<String>], own: usize, wanted: &str) -> Option<usize> {
    let is = |name: &Option<String>| name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
    let before = names[..own].iter().rposition(is);
    before.or_else(|| names[own..].iter().position(is).map(|index| own + index))
}

/// Asks which instructions an image has for builds on top of it: of a stage of the file, with the image's name and the
/// platform that is asked for.
pub(crate) type Triggers<'a> = &'a mut dyn FnMut(usize, &str, Option<&str>) -> Result<Vec<String>>;

/// Makes the plan.
///
/// # Errors
/// `invalid_argument` for a base without a name, an unknown target, stages that need each other.
pub(crate) fn plan(file: &Dockerfile, options: &Options, globals: &Globals, triggers: Triggers<'_>) -> Result<Plan> {
    let count = file.stages.len();
    let names: Vec<Option<String>> =
        file.stages.iter().map(|stage| stage.name.as_ref().map(|name| name.text.to_ascii_lowercase())).collect();
    let mut latest = std::collections::HashMap::new();
    let mut bases = Vec::with_capacity(count);
    let mut platforms = Vec::with_capacity(count);
    for (index, stage) in file.stages.iter().enumerate() {
        let base = expanded(file, &stage.base, &|name| globals.get(name))?;
        if base.is_empty() {
            let error = at(&file.file, stage.base.span, format!("{:?} comes to no name of a base", stage.base.text));
            return Err(error.with_hint("give the ARG in front of the first FROM a default, or use --build-arg"));
        }
        bases.push(match latest.get(&base.to_ascii_lowercase()) {
            Some(stage) => From::Stage(*stage),
            None => match options.named.get(&base) {
                Some(Named::Image(reference)) => From::Image(reference.clone()),
                Some(Named::Folder(..)) => From::Folder(base),
                None if base == "scratch" => From::Scratch,
                None => From::Image(base),
            },
        });
        let platform = |word: &Word| expanded(file, word, &|name| globals.get(name));
        platforms.push(stage.platform.as_ref().map(platform).transpose()?.filter(|platform| !platform.is_empty()));
        if let Some(name) = &names[index] {
            latest.insert(name.clone(), index);
        }
    }
    let mut plan = Plan { bases, platforms, names, order: Vec::new(), places: vec![usize::MAX; count] };
    let target = target(file, options, &plan)?;
    order(file, options, globals, &mut plan, target, triggers)?;
    Ok(plan)
}

fn target(file: &Dockerfile, options: &Options, plan: &Plan) -> Result<usize> {
    let last = file.stages.len() - 1;
    let Some(wanted) = &options.target else { return Ok(last) };
    let known = plan.names.iter().flatten().map(String::as_str);
    named(&plan.names, plan.names.len(), wanted)
        .or_else(|| wanted.parse().ok().filter(|number| *number <= last))
        .ok_or_else(|| {
            let error = Error::not_found(format!("{} has no stage {wanted:?}", file.file));
            let all = known.clone().take(10).collect::<Vec<_>>().join(", ");
            let hint = suggest::hint(wanted, known).or_else(|| (!all.is_empty()).then(|| format!("it has {all}")));
            hint.into_iter().fold(error, Error::with_hint)
        })
}

/// Puts what a stage needs in front of it. Without recursion: a chain may be as long as the file.
fn order(
    file: &Dockerfile,
    options: &Options,
    globals: &Globals,
    plan: &mut Plan,
    target: usize,
    triggers: Triggers<'_>,
) -> Result<()> {
    let mut path: Vec<(usize, std::vec::IntoIter<usize>)> = Vec::new();
    let mut open = vec![false; file.stages.len()];
    let mut next = Some(target);
    loop {
        if let Some(stage) = next.take() {
            open[stage] = true;
            let asked = match &plan.bases[stage] {
                From::Image(image) => triggers(stage, image, plan.platforms[stage].as_deref())?,
                _ => Vec::new(),
            };
            path.push((stage, needs(file, options, globals, plan, stage, &asked)?.into_iter()));
        }
        let Some((stage, rest)) = path.last_mut() else { return Ok(()) };
        let stage = *stage;
        match rest.next() {
            Some(other) if open[other] => {
                let names: Vec<String> = path
                    .iter()
                    .skip_while(|(stage, _)| *stage != other)
                    .map(|(stage, _)| name(plan, *stage))
                    .take(10)
                    .collect();
                let message = match names.as_slice() {
                    [one] => format!("the stage {one} needs itself"),
                    several => format!("the stages {} need each other", several.join(", ")),
                };
                return Err(at(&file.file, file.stages[stage].from.span, message));
            }
            Some(other) if plan.places[other] == usize::MAX => next = Some(other),
            Some(_) => {}
            None => {
                open[stage] = false;
                plan.places[stage] = plan.order.len();
                plan.order.push(stage);
                path.pop();
            }
        }
    }
}

/// A stage as one names it.
pub(crate) fn name(plan: &Plan, stage: usize) -> String {
    plan.names[stage].as_ref().map_or_else(|| stage.to_string(), |name| format!("{name:?}"))
}

/// The name of an image's triggers in messages.
pub(crate) fn trigger_name(base: &str) -> String {
    format!("ONBUILD of {base}")
}

/// The stages that a stage takes something from; `triggers` are those of its image.
fn needs(
    file: &Dockerfile,
    options: &Options,
    globals: &Globals,
    plan: &Plan,
    stage: usize,
    triggers: &[String],
) -> Result<Vec<usize>> {
    let mut needs = Vec::new();
    let base = &file.stages[stage].base;
    for text in triggers {
        let name = trigger_name(&base.text);
        let trigger = parse_trigger(&name, text)?;
        // Its words stand in no line of the file.
        let place = Dockerfile { file: name, arguments: Vec::new(), stages: Vec::new(), ..file.clone() };
        of_instruction(&place, options, globals, plan, stage, &trigger, &mut needs)?;
    }
    if let From::Stage(base) = plan.bases[stage] {
        needs.push(base);
        let triggers = file.stages[base].instructions.iter().filter_map(|instruction| match &instruction.kind {
            InstructionKind::OnBuild(_, inner) => Some(inner.as_ref()),
            _ => None,
        });
        for trigger in triggers {
            of_instruction(file, options, globals, plan, stage, trigger, &mut needs)?;
        }
    }
    for instruction in &file.stages[stage].instructions {
        of_instruction(file, options, globals, plan, stage, instruction, &mut needs)?;
    }
    Ok(needs)
}

fn of_instruction(
    file: &Dockerfile,
    options: &Options,
    globals: &Globals,
    plan: &Plan,
    stage: usize,
    instruction: &Instruction,
    needs: &mut Vec<usize>,
) -> Result<()> {
    let mut take = |from: &str| match plan.stage(stage, from) {
        Some(other) => needs.push(other),
        None => debug_assert!(plan.origin(stage, from, options).is_some()),
    };
    match &instruction.kind {
        InstructionKind::Copy(copy) => {
            if let Some(from) = &copy.from {
                let text = expanded(file, from, &|name| globals.get(name))?;
                let number = text.parse::<usize>().is_ok_and(|number| number >= plan.names.len());
                if text.is_empty() || number {
                    return Err(at(&file.file, from.span, format!("there is no stage {text:?}")));
                }
                take(&text);
            }
        }
        InstructionKind::Run(run) => {
            run.mounts.iter().filter_map(mount::from).for_each(|from| take(&from));
        }
        _ => {}
    }
    Ok(())
}
