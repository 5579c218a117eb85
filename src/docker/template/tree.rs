//! The tree of a template, and how Go's messages write its parts.

use std::fmt;

use crate::docker::template::number::Number;

/// A part of the text.
#[derive(Debug)]
pub(super) enum Node {
    /// Text as it stands.
    Text(String),
    /// A pipeline whose value is printed.
    Action(Pipe),
    /// `if`, `with` or `range`.
    Branch(Branch),
    /// A call of another template.
    Template(Call),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
}

/// The three that have a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BranchKind {
    If,
    With,
    Range,
}

/// `if`, `with` or `range`.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) kind: BranchKind,
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// A call of another template.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) at: usize,
    pub(super) name: String,
    pub(super) pipe: Option<Pipe>,
}

/// A pipeline.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    /// Variables that get its value, with their `$`.
    pub(super) variables: Vec<String>,
    /// With `=`: the variables are there already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// Operands side by side.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    /// At least one.
    pub(super) operands: Vec<Operand>,
}

/// An operand and where it is.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) term: Term,
}

/// What an operand is.
#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    /// A string as it is written, and what it means.
    String(String, String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`, the first with its `$`
    Variable(Vec<String>),
    /// A function.
    Function(String),
    /// A pipeline in parentheses.
    Pipe(Box<Pipe>),
    /// Fields of anything else.
    Chain(Box<Operand>, Vec<String>),
}

/// Whether a field of this name is anywhere in these.
pub(super) fn mention(nodes: &[Node], field: &str) -> bool {
    nodes.iter().any(|node| match node {
        Node::Text(_) | Node::Break | Node::Continue => false,
        Node::Action(pipe) => pipe.mentions(field),
        Node::Template(call) => call.pipe.as_ref().is_some_and(|pipe| pipe.mentions(field)),
        Node::Branch(branch) => {
            branch.pipe.mentions(field) || mention(&branch.body, field) || mention(&branch.otherwise, field)
        }
    })
}

impl Pipe {
    fn mentions(&self, field: &str) -> bool {
        self.commands.iter().any(|command| command.operands.iter().any(|operand| operand.mentions(field)))
    }
}

impl Operand {
    fn mentions(&self, field: &str) -> bool {
        let among = |names: &[String]| names.iter().any(|name| name == field);
        match &self.term {
            Term::Field(names) => among(names),
            Term::Variable(names) => among(&names[1..]),
            Term::Pipe(pipe) => pipe.mentions(field),
            Term::Chain(first, names) => among(names) || first.mentions(field),
            _ => false,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", crate::docker::template::quote::quoted(&self.name))?;
        match &self.pipe {
            Some(pipe) => write!(f, " {pipe}}}}}"),
            None => f.write_str("}}"),
        }
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        separated(f, &self.commands, " | ")
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, operand) in self.operands.iter().enumerate() {
            let space = if at > 0 { " " } else { "" };
            match &operand.term {
                Term::Pipe(pipe) => write!(f, "{space}({pipe})")?,
                _ => write!(f, "{space}{operand}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(value) => write!(f, "{value}"),
            Term::Number(number) => f.write_str(&number.text),
            Term::String(written, _) => f.write_str(written),
            Term::Field(names) => names.iter().try_for_each(|name| write!(f, ".{name}")),
            Term::Variable(names) => f.write_str(&names.join(".")),
            Term::Function(name) => f.write_str(name),
            Term::Pipe(pipe) => write!(f, "{pipe}"),
            Term::Chain(first, names) => {
                match &first.term {
                    Term::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => write!(f, "{first}")?,
                }
                names.iter().try_for_each(|name| write!(f, ".{name}"))
            }
        }
    }
}

fn separated(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display], by: &str) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if at > 0 { by } else { "" })?;
    }
    Ok(())
}
