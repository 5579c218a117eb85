//! Walks a template over a subject. Messages and the places they name are Go's.

use std::fmt::Display;

use crate::base::suggest;
use crate::docker::template::call::Given;
use crate::docker::template::functions::{Signature, Want};
use crate::docker::template::quote::quoted;
use crate::docker::template::shape::Shape;
use crate::docker::template::tree::{Branch, BranchKind, Call, Command, Node, Operand, Pipe, Term};
use crate::docker::template::value::{Value, View, sorted};
use crate::docker::template::verbs;
use crate::docker::template::{FUEL, MAX_DEPTH, Method, Subject, Template};

/// What a step costs beside the bytes that it makes.
const STEP: usize = 16;

/// Why a template could not be rendered.
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Renders.
pub(super) fn run<'a>(template: &'a Template, subject: &'a Subject<'a>) -> Result<String, Failure> {
    let (made, failure) = run_part(template, subject, false);
    failure.map_or(Ok(made), Err)
}

/// Renders as far as it goes. The functions that change text leave it as it is where `titles` of columns are rendered.
pub(super) fn run_part<'a>(
    template: &'a Template,
    subject: &'a Subject<'a>,
    titles: bool,
) -> (String, Option<Failure>) {
    let dot = Value::of(subject.value, subject.shape).settled();
    let mut run = Run {
        template,
        methods: subject.methods,
        strict: matches!(subject.shape, Shape::Any),
        titles,
        out: String::new(),
        tree: "",
        at: None,
        variables: vec![("$", dot.clone())],
        depth: 0,
        fuel: FUEL,
    };
    let nodes = template.trees.get("").map_or(&[][..], Vec::as_slice);
    let failure = run.walk(&dot, nodes).err();
    (run.out, failure)
}

pub(super) type Ran<T> = Result<T, Failure>;

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// What is being worked on, for messages.
#[derive(Clone, Copy)]
struct Site<'a> {
    at: usize,
    what: &'a dyn Display,
}

pub(super) struct Run<'a> {
    template: &'a Template,
    methods: &'a [Method<'a>],
    /// A key that is missing is an error.
    strict: bool,
    /// What is rendered are the titles of columns.
    pub(super) titles: bool,
    out: String,
    /// The name of the tree that is walked.
    tree: &'a str,
    at: Option<Site<'a>>,
    variables: Vec<(&'a str, Value<'a>)>,
    depth: usize,
    pub(super) fuel: usize,
}

impl<'a> Run<'a> {
    pub(super) fn fail<T>(&self, message: impl Display) -> Ran<T> {
        let message = match &self.at {
            None => format!("template: : {message}"),
            Some(site) => {
                let before = &self.template.text[..site.at];
                let line = before.matches('\n').count() + 1;
                let column = before.rfind('\n').map_or(site.at, |end| site.at - end - 1);
                let tree = quoted(self.tree);
                format!("template: :{line}:{column}: executing {tree} at <{}>: {message}", site.what)
            }
        };
        Err(Failure { message, hint: None })
    }

    pub(super) fn at(&mut self, at: usize, what: &'a dyn Display) {
        self.at = Some(Site { at, what });
    }

    /// Takes from what the rendering may do.
    pub(super) fn spend(&mut self, amount: usize) -> Ran<()> {
        match self.fuel.checked_sub(amount) {
            Some(fuel) => {
                self.fuel = fuel;
                Ok(())
            }
            None => self.fail("the template does too much work"),
        }
    }

    pub(super) fn deeper<T>(&mut self, work: impl FnOnce(&mut Run<'a>) -> Ran<T>) -> Ran<T> {
        if self.depth == MAX_DEPTH {
            return self.fail(format_args!("exceeded maximum template depth ({MAX_DEPTH})"));
        }
        self.depth += 1;
        let done = work(self);
        self.depth -= 1;
        done
    }

    fn write(&mut self, text: &str) -> Ran<()> {
        self.spend(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn walk(&mut self, dot: &Value<'a>, nodes: &'a [Node]) -> Ran<Flow> {
        for node in nodes {
            self.spend(STEP)?;
            let flow = match node {
                Node::Text(text) => self.write(text).map(|()| Flow::Next)?,
                Node::Action(pipe) => self.print(dot, pipe).map(|()| Flow::Next)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
                Node::Template(call) => self.deeper(|run| run.call(dot, call)).map(|()| Flow::Next)?,
                Node::Branch(branch) => {
                    let known = self.variables.len();
                    let flow = self.deeper(|run| match branch.kind {
                        BranchKind::Range => run.range(dot, branch),
                        _ => run.choose(dot, branch),
                    })?;
                    self.variables.truncate(known);
                    flow
                }
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, dot: &Value<'a>, pipe: &'a Pipe) -> Ran<()> {
        let value = self.pipe(dot, pipe)?;
        if !pipe.variables.is_empty() {
            return Ok(());
        }
        match &value {
            Value::Absent => self.write("<no value>"),
            Value::Text(text) => self.write(text),
            value => {
                let text = verbs::shown(value, self.fuel);
                self.write(&text)
            }
        }
    }

    fn call(&mut self, dot: &Value<'a>, call: &'a Call) -> Ran<()> {
        self.at(call.at, call);
        let Some((name, nodes)) = self.template.trees.get_key_value(&call.name) else {
            return self.fail(format_args!("template {} not defined", quoted(&call.name)));
        };
        let dot = match &call.pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Absent,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let caller = std::mem::replace(&mut self.tree, name);
        self.walk(&dot, nodes)?;
        self.variables = outer;
        self.tree = caller;
        Ok(())
    }

    fn choose(&mut self, dot: &Value<'a>, branch: &'a Branch) -> Ran<Flow> {
        let value = self.pipe(dot, &branch.pipe)?;
        match (value.is_true(), branch.kind) {
            (true, BranchKind::With) => self.walk(&value, &branch.body),
            (true, _) => self.walk(dot, &branch.body),
            (false, _) => self.walk(dot, &branch.otherwise),
        }
    }

    fn range(&mut self, dot: &Value<'a>, branch: &'a Branch) -> Ran<Flow> {
        let value = self.pipe(dot, &branch.pipe)?;
        let mut any = false;
        let mut turn = |run: &mut Run<'a>, index: Value<'a>, element: Value<'a>| {
            any = true;
            run.turn(branch, index, element)
        };
        match &value {
            Value::Strings(items) => {
                for (at, item) in items.iter().enumerate() {
                    if turn(self, Value::Int(at as i64), Value::Made(item.clone()))? {
                        break;
                    }
                }
            }
            Value::Part(..) | Value::Json(..) => match value.view() {
                View::List(items, shape) => {
                    for (at, item) in items.iter().enumerate() {
                        if turn(self, Value::Int(at as i64), Value::of(item, shape.element()))? {
                            break;
                        }
                    }
                }
                View::Map(Some(map), shape) => {
                    self.spend(map.len())?;
                    for (key, item) in sorted(map) {
                        if turn(self, Value::Text(key), Value::of(item, shape.element()))? {
                            break;
                        }
                    }
                }
                View::Struct(..) => return self.cannot_range(&value),
                _ => {}
            },
            Value::Int(count) => {
                if branch.pipe.variables.len() > 1 {
                    return self.fail(format_args!("can't use {count} to iterate over more than one variable"));
                }
                for at in 0..*count {
                    if turn(self, Value::Absent, Value::Int(at))? {
                        break;
                    }
                }
            }
            Value::Absent => {}
            value => return self.cannot_range(value),
        }
        if any { Ok(Flow::Next) } else { self.walk(dot, &branch.otherwise) }
    }

    fn cannot_range<T>(&self, value: &Value<'a>) -> Ran<T> {
        self.fail(format_args!("range can't iterate over {}", verbs::shown(value, self.fuel)))
    }

    /// One turn of a loop; whether it was the last one.
    fn turn(&mut self, branch: &'a Branch, index: Value<'a>, element: Value<'a>) -> Ran<bool> {
        self.spend(STEP)?;
        let element = element.settled();
        let pipe = &branch.pipe;
        let values = match pipe.variables.len() {
            0 => vec![],
            1 => vec![element.clone()],
            _ => vec![index, element.clone()],
        };
        let known = self.variables.len();
        if pipe.assigns {
            for (name, value) in pipe.variables.iter().zip(values) {
                self.assign(name, value)?;
            }
        } else {
            let first = known - values.len();
            for (slot, value) in self.variables[first..].iter_mut().zip(values) {
                slot.1 = value;
            }
        }
        let flow = self.walk(&element, &branch.body)?;
        self.variables.truncate(known);
        Ok(flow == Flow::Break)
    }

    fn assign(&mut self, name: &str, value: Value<'a>) -> Ran<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(slot) => {
                slot.1 = value;
                Ok(())
            }
            None => self.fail(format_args!("undefined variable: {name}")),
        }
    }

    fn pipe(&mut self, dot: &Value<'a>, pipe: &'a Pipe) -> Ran<Value<'a>> {
        self.at(pipe.at, pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?.settled());
        }
        let value = value.unwrap_or(Value::Absent);
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value<'a>, command: &'a Command, last: Option<Value<'a>>) -> Ran<Value<'a>> {
        self.spend(STEP)?;
        let first = &command.operands[0];
        let given = Given { command: Some(command), last };
        match &first.term {
            Term::Function(name) => self.function(dot, first, name, given),
            Term::Field(_) | Term::Chain(..) | Term::Variable(_) => self.fields(dot, first, Some(given)),
            Term::Pipe(pipe) => {
                self.is_alone(first, &given)?;
                self.deeper(|run| run.pipe(dot, pipe))
            }
            term => {
                self.at(first.at, first);
                self.is_alone(first, &given)?;
                match term {
                    Term::Nil => self.fail("nil is not a command"),
                    _ => self.constant(dot, first),
                }
            }
        }
    }

    fn is_alone(&self, first: &Operand, given: &Given<'a>) -> Ran<()> {
        match given.has_any() {
            true => self.fail(format_args!("can't give argument to non-function {first}")),
            false => Ok(()),
        }
    }

    /// Dot, or a constant of the type that it has by itself.
    fn constant(&mut self, dot: &Value<'a>, operand: &'a Operand) -> Ran<Value<'a>> {
        Ok(match &operand.term {
            Term::Dot => dot.clone(),
            Term::Bool(value) => Value::Bool(*value),
            Term::String(_, text) => Value::Text(text),
            Term::Number(number) if number.is_float => Value::Float(number.float),
            Term::Number(number) => match number.integer {
                Some(integer) => Value::Int(integer),
                None => return self.fail(format_args!("{} overflows int", number.text)),
            },
            _ => Value::Absent,
        })
    }

    /// Fields of dot, of a variable or of anything else. What is given goes to the last of them, should it be a method.
    fn fields(&mut self, dot: &Value<'a>, operand: &'a Operand, given: Option<Given<'a>>) -> Ran<Value<'a>> {
        self.at(operand.at, operand);
        let (mut value, names) = match &operand.term {
            Term::Field(names) => (dot.clone(), names.as_slice()),
            Term::Variable(names) => {
                let known = self.variables.iter().rev().find(|(known, _)| *known == names[0]);
                match known {
                    Some((_, value)) => (value.clone(), &names[1..]),
                    None => return self.fail(format_args!("undefined variable: {}", names[0])),
                }
            }
            Term::Chain(first, _) if matches!(first.term, Term::Nil) => {
                return self.fail(format_args!("indirection through explicit nil in {operand}"));
            }
            Term::Chain(first, names) => (self.operand(dot, first)?, names.as_slice()),
            _ => (self.constant(dot, operand)?, &[][..]),
        };
        let Some((last, others)) = names.split_last() else {
            if let Some(given) = &given {
                self.is_alone(operand, given)?;
            }
            return Ok(value);
        };
        for (at, name) in others.iter().enumerate() {
            let receiver = Receiver { value: &value, is_inner: at > 0 };
            value = self.field(dot, receiver, name, operand, None)?;
        }
        let receiver = Receiver { value: &value, is_inner: !others.is_empty() };
        self.field(dot, receiver, last, operand, given)
    }

    fn field(
        &mut self,
        dot: &Value<'a>,
        receiver: Receiver<'_, 'a>,
        name: &'a str,
        operand: &'a Operand,
        given: Option<Given<'a>>,
    ) -> Ran<Value<'a>> {
        self.spend(STEP)?;
        // What plain JSON gives has no other type inside than "anything".
        let anonymous = receiver.is_inner && self.strict;
        let receiver = receiver.value;
        let type_name = || if anonymous { "interface {}".to_owned() } else { receiver.type_name() };
        if let Value::Json(_, Shape::Row(_)) = receiver
            && let Some((_, method)) = self.methods.iter().find(|(method, _)| *method == name)
        {
            return self.method(dot, name, method, operand, given);
        }
        let has_any = given.as_ref().is_some_and(Given::has_any);
        let view = receiver.view();
        match view {
            View::Nothing if matches!(receiver, Value::Absent) => {
                return match self.strict {
                    true => self.fail(format_args!("nil data; no entry for key {}", quoted(name))),
                    false => Ok(Value::Absent),
                };
            }
            View::Nothing | View::Nil => {
                return self.fail(format_args!("nil pointer evaluating {}.{name}", type_name()));
            }
            View::Map(map, Shape::Row(type_name)) => {
                return match map.and_then(|map| map.get(name)) {
                    Some(_) if has_any => {
                        let got = given.map_or(0, |given| given.count());
                        self.fail(format_args!("wrong number of args for {name}: want 0 got {got}"))
                    }
                    // Nothing in a row is a nil pointer.
                    Some(json) if json.is_null() => Ok(Value::zero(Shape::Pointer(&Shape::Any))),
                    Some(json) => Ok(Value::of(json, Shape::Any)),
                    None => self.unknown(receiver, name, format!("can't evaluate field {name} in type {type_name}")),
                };
            }
            View::Map(..) if has_any => {
                return self.fail(format_args!("{name} is not a method but has arguments"));
            }
            View::Map(map, shape) => {
                return match map.and_then(|map| map.get(name)) {
                    Some(json) => Ok(Value::of(json, shape.element())),
                    None if !self.strict => Ok(Value::Absent),
                    None => self.unknown(receiver, name, format!("map has no entry for key {}", quoted(name))),
                };
            }
            View::Struct(map, shape) => {
                let field = shape.field(name);
                // What JSON has under another name than Go is found under Go's alone.
                let plain = || map.get(name).filter(|_| shape.json_field(name).is_none());
                if has_any && (field.is_some() || plain().is_some()) {
                    return self.fail(format_args!("{name} has arguments but cannot be invoked as function"));
                }
                match field {
                    Some((key, shape)) => {
                        return Ok(map.get(key).map_or_else(|| Value::zero(shape), |json| Value::of(json, shape)));
                    }
                    None => {
                        if let Some(json) = plain() {
                            return Ok(Value::of(json, Shape::Any));
                        }
                    }
                }
            }
            _ => {}
        }
        let message = format!("can't evaluate field {name} in type {}", type_name());
        self.unknown(receiver, name, message)
    }

    /// There is no such field: says which one may have been meant.
    fn unknown<T>(&self, receiver: &Value<'a>, name: &str, message: String) -> Ran<T> {
        self.fail(message).map_err(|failure| Failure { hint: suggest::hint(name, receiver.keys()), ..failure })
    }

    /// A method of a listing's row, which takes one string.
    fn method(
        &mut self,
        dot: &Value<'a>,
        name: &'a str,
        method: &dyn Fn(&str) -> String,
        operand: &'a Operand,
        given: Option<Given<'a>>,
    ) -> Ran<Value<'a>> {
        let signature = Signature { fixed: &[Want::Text], rest: None };
        let values = self.arguments(dot, name, &signature, given.unwrap_or(Given::NONE))?;
        self.at(operand.at, operand);
        let View::Text(text) = values[0].view() else { return self.fail("invalid value; expected string") };
        let made = method(text);
        self.spend(made.len())?;
        Ok(Value::made(made))
    }

    /// The value of an operand that is not a command by itself.
    pub(super) fn operand(&mut self, dot: &Value<'a>, operand: &'a Operand) -> Ran<Value<'a>> {
        self.spend(STEP)?;
        match &operand.term {
            Term::Pipe(pipe) => self.deeper(|run| run.pipe(dot, pipe)),
            Term::Function(name) => self.function(dot, operand, name, Given::NONE),
            Term::Field(_) | Term::Variable(_) | Term::Chain(..) => self.fields(dot, operand, None),
            _ => self.constant(dot, operand),
        }
    }
}

/// What a field is taken of.
#[derive(Clone, Copy)]
struct Receiver<'v, 'a> {
    value: &'v Value<'a>,
    /// A field by itself.
    is_inner: bool,
}
