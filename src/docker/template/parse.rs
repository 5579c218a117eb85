//! Words to a tree. Functions and variables have to be known, and nesting has a limit.

use std::collections::HashMap;

use crate::docker::template::MAX_DEPTH;
use crate::docker::template::functions;
use crate::docker::template::lex::{self, Kind, Word};
use crate::docker::template::number;
use crate::docker::template::quote;
use crate::docker::template::tree::{Branch, BranchKind, Call, Command, Node, Operand, Pipe, Term};

/// The trees of a text by name.
pub(super) type Trees = HashMap<String, Vec<Node>>;

/// Reads a template; an error is Go's message.
pub(super) fn parse(text: &str) -> Result<Trees, String> {
    let mut parser = Parser { words: lex::lex(text), next: 0, line: 1, action_line: 0, trees: Trees::new(), depth: 0 };
    let mut scope = Scope::new();
    let mut root = Vec::new();
    loop {
        parser.skip_definitions()?;
        match parser.peek().kind {
            Kind::End => break,
            _ => match parser.part(&mut scope)? {
                Part::Node(node) => root.push(node),
                end => return parser.refuse(&format!("unexpected {}", end.shown())),
            },
        }
    }
    parser.add(String::new(), root)?;
    Ok(parser.trees)
}

/// What a tree sees while it is read.
struct Scope {
    variables: Vec<String>,
    ranges: usize,
}

impl Scope {
    fn new() -> Scope {
        Scope { variables: vec!["$".into()], ranges: 0 }
    }
}

/// What stands in a list of nodes, or ends it.
enum Part {
    Node(Node),
    End,
    /// And what follows at once: the place of `if` or `with`.
    Else,
}

impl Part {
    fn shown(&self) -> &'static str {
        match self {
            Part::Node(_) => "",
            Part::End => "{{end}}",
            Part::Else => "{{else}}",
        }
    }
}

struct Parser {
    words: Vec<Word>,
    next: usize,
    /// Of the word that was looked at last.
    line: usize,
    /// Of the action that is being read; 0 outside.
    action_line: usize,
    trees: Trees,
    depth: usize,
}

type Parsed<T> = Result<T, String>;

impl Parser {
    fn refuse<T>(&self, message: &str) -> Parsed<T> {
        Err(format!("template: :{}: {message}", self.line))
    }

    fn peek(&mut self) -> Word {
        // The last word is the end or an error, and is never passed.
        let word = self.words[self.next.min(self.words.len() - 1)].clone();
        self.line = word.line;
        word
    }

    fn kind_after(&self) -> Kind {
        self.words.get(self.next + 1).map_or(Kind::End, |word| word.kind)
    }

    fn take(&mut self) -> Word {
        let word = self.peek();
        self.next += 1;
        word
    }

    fn is_keyword(&mut self, text: &str) -> bool {
        let word = self.peek();
        word.kind == Kind::Keyword && word.text == text
    }

    fn unexpected<T>(&self, word: &Word, context: &str) -> Parsed<T> {
        if word.kind != Kind::Error {
            return self.refuse(&format!("unexpected {} in {context}", word.shown()));
        }
        let mut message = word.text.clone();
        if self.action_line != 0 && self.action_line != word.line {
            let action = if word.text.ends_with(" action") { "" } else { " in action" };
            message.push_str(&format!("{action} started at :{}", self.action_line));
        }
        self.refuse(&message)
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Word> {
        let word = self.take();
        if word.kind == kind { Ok(word) } else { self.unexpected(&word, context) }
    }

    /// Counts a level of nesting while `read` runs.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Parser) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            return self.refuse(&format!("nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn add(&mut self, name: String, nodes: Vec<Node>) -> Parsed<()> {
        if self.trees.get(&name).is_none_or(|there| is_empty(there)) {
            self.trees.insert(name, nodes);
        } else if !is_empty(&nodes) {
            let name = quote::quoted(&name);
            return self.refuse(&format!("template: multiple definition of template {name}"));
        }
        Ok(())
    }

    /// Reads all definitions that stand here.
    fn skip_definitions(&mut self) -> Parsed<()> {
        while self.peek().kind == Kind::Open {
            let after = &self.words[self.next + 1];
            if after.kind != Kind::Keyword || after.text != "define" {
                break;
            }
            self.next += 2;
            let name = self.template_name("define clause")?.1;
            self.expect(Kind::Close, "define clause")?;
            let (nodes, end) = self.deeper(|parser| parser.list(&mut Scope::new()))?;
            if !matches!(end, Part::End) {
                return self.refuse(&format!("unexpected {} in define clause", end.shown()));
            }
            self.add(name, nodes)?;
        }
        Ok(())
    }

    /// Nodes up to an `end` or `else`.
    fn list(&mut self, scope: &mut Scope) -> Parsed<(Vec<Node>, Part)> {
        let mut nodes = Vec::new();
        while self.peek().kind != Kind::End {
            match self.part(scope)? {
                Part::Node(node) => nodes.push(node),
                end => return Ok((nodes, end)),
            }
        }
        self.refuse("unexpected EOF")
    }

    fn part(&mut self, scope: &mut Scope) -> Parsed<Part> {
        let word = self.take();
        match word.kind {
            Kind::Text => Ok(Part::Node(Node::Text(word.text))),
            Kind::Open => {
                self.action_line = word.line;
                let part = self.action(scope)?;
                self.action_line = 0;
                Ok(part)
            }
            _ => self.unexpected(&word, "input"),
        }
    }

    fn action(&mut self, scope: &mut Scope) -> Parsed<Part> {
        let word = self.peek();
        if word.kind != Kind::Keyword {
            return Ok(Part::Node(Node::Action(self.pipe(scope, "command", Kind::Close)?)));
        }
        self.next += 1;
        match word.text.as_str() {
            "block" => self.block(scope).map(Part::Node),
            "break" => self.leap("{{break}}", scope, Node::Break).map(Part::Node),
            "continue" => self.leap("{{continue}}", scope, Node::Continue).map(Part::Node),
            "else" => {
                if !self.is_keyword("if") && !self.is_keyword("with") {
                    self.expect(Kind::Close, "else")?;
                }
                Ok(Part::Else)
            }
            "end" => self.expect(Kind::Close, "end").map(|_| Part::End),
            "if" => self.branch(BranchKind::If, scope).map(Part::Node),
            "range" => self.branch(BranchKind::Range, scope).map(Part::Node),
            "with" => self.branch(BranchKind::With, scope).map(Part::Node),
            "template" => self.call(scope).map(Part::Node),
            _ => self.unexpected(&word, "command"),
        }
    }

    fn leap(&mut self, name: &str, scope: &Scope, node: Node) -> Parsed<Node> {
        self.expect(Kind::Close, name)?;
        if scope.ranges == 0 { self.refuse(&format!("{name} outside {{{{range}}}}")) } else { Ok(node) }
    }

    fn template_name(&mut self, context: &str) -> Parsed<(usize, String)> {
        let word = self.take();
        match word.kind {
            Kind::Quoted | Kind::Raw => self.string(&word).map(|name| (word.at, name)),
            _ => self.unexpected(&word, context),
        }
    }

    fn string(&self, word: &Word) -> Parsed<String> {
        quote::unquoted(&word.text).map_or_else(|| self.refuse("invalid syntax"), Ok)
    }

    fn call(&mut self, scope: &mut Scope) -> Parsed<Node> {
        let (at, name) = self.template_name("template clause")?;
        let pipe = match self.peek().kind {
            Kind::Close => {
                self.next += 1;
                None
            }
            _ => Some(self.pipe(scope, "template clause", Kind::Close)?),
        };
        Ok(Node::Template(Call { at, name, pipe }))
    }

    fn block(&mut self, scope: &mut Scope) -> Parsed<Node> {
        let (at, name) = self.template_name("block clause")?;
        let pipe = self.pipe(scope, "block clause", Kind::Close)?;
        let (nodes, end) = self.deeper(|parser| parser.list(&mut Scope::new()))?;
        if !matches!(end, Part::End) {
            return self.refuse(&format!("unexpected {} in block clause", end.shown()));
        }
        self.add(name.clone(), nodes)?;
        Ok(Node::Template(Call { at, name, pipe: Some(pipe) }))
    }

    fn branch(&mut self, kind: BranchKind, scope: &mut Scope) -> Parsed<Node> {
        let known = scope.variables.len();
        let branch = self.deeper(|parser| parser.branch_inside(kind, scope));
        scope.variables.truncate(known);
        branch.map(Node::Branch)
    }

    fn branch_inside(&mut self, kind: BranchKind, scope: &mut Scope) -> Parsed<Branch> {
        let word = match kind {
            BranchKind::If => "if",
            BranchKind::With => "with",
            BranchKind::Range => "range",
        };
        let pipe = self.pipe(scope, word, Kind::Close)?;
        let ranges = usize::from(kind == BranchKind::Range);
        scope.ranges += ranges;
        let (body, end) = self.list(scope)?;
        scope.ranges -= ranges;
        let mut otherwise = Vec::new();
        if matches!(end, Part::Else) {
            if kind != BranchKind::Range && self.is_keyword(word) {
                // `else if` is an `else` with an `if` in it; both have one `end`.
                self.next += 1;
                otherwise.push(self.branch(kind, scope)?);
            } else {
                let (nodes, end) = self.list(scope)?;
                if !matches!(end, Part::End) {
                    return self.refuse(&format!("expected end; found {}", end.shown()));
                }
                otherwise = nodes;
            }
        }
        Ok(Branch { kind, pipe, body, otherwise })
    }

    fn pipe(&mut self, scope: &mut Scope, context: &str, end: Kind) -> Parsed<Pipe> {
        let mut pipe = Pipe { at: self.peek().at, variables: Vec::new(), assigns: false, commands: Vec::new() };
        self.variables(scope, context, &mut pipe)?;
        loop {
            let word = self.peek();
            match word.kind {
                kind if kind == end => {
                    self.next += 1;
                    break;
                }
                Kind::Bool
                | Kind::Char
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::Raw
                | Kind::Quoted
                | Kind::Variable
                | Kind::Left => pipe.commands.push(self.command(scope)?),
                _ => return self.unexpected(&word, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.refuse(&format!("missing value for {context}"));
        }
        let is_literal = |command: &Command| {
            let term = &command.operands[0].term;
            matches!(term, Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::String(..))
        };
        match pipe.commands.iter().skip(1).position(is_literal) {
            Some(at) => self.refuse(&format!("non executable command in pipeline stage {}", at + 2)),
            None => Ok(pipe),
        }
    }

    /// The variables that a pipeline begins with.
    fn variables(&mut self, scope: &mut Scope, context: &str, pipe: &mut Pipe) -> Parsed<()> {
        while self.peek().kind == Kind::Variable {
            let after = self.kind_after();
            let is_comma = after == Kind::Other && self.words[self.next + 1].text == ",";
            if !is_comma && !matches!(after, Kind::Declare | Kind::Assign) {
                break;
            }
            let name = self.take().text;
            self.take();
            pipe.variables.push(name.clone());
            scope.variables.push(name);
            if !is_comma {
                pipe.assigns = after == Kind::Assign;
                break;
            }
            if context != "range" || pipe.variables.len() > 1 {
                return self.refuse(&format!("too many declarations in {context}"));
            }
            if !matches!(self.peek().kind, Kind::Variable | Kind::Close | Kind::Right) {
                return self.refuse("range can only initialize variables");
            }
        }
        Ok(())
    }

    fn command(&mut self, scope: &mut Scope) -> Parsed<Command> {
        let mut command = Command { at: self.peek().at, operands: Vec::new() };
        loop {
            let operand = self.operand(scope)?;
            let goes_on = operand.is_some();
            command.operands.extend(operand);
            let word = self.peek();
            match word.kind {
                Kind::Close | Kind::Right => break,
                Kind::Pipe => {
                    self.next += 1;
                    break;
                }
                _ if goes_on && word.spaced => {}
                _ => return self.unexpected(&word, "operand"),
            }
        }
        if command.operands.is_empty() { self.refuse("empty command") } else { Ok(command) }
    }

    /// A term with the fields behind it; nothing when there is none.
    fn operand(&mut self, scope: &mut Scope) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term(scope)? else { return Ok(None) };
        let first = self.peek();
        if first.kind != Kind::Field || first.spaced {
            return Ok(Some(operand));
        }
        let mut names = Vec::new();
        while self.peek().kind == Kind::Field && !self.peek().spaced {
            names.push(self.take().text[1..].to_owned());
        }
        match &mut operand.term {
            // Go says the place of the second field, and so does this.
            Term::Field(all) | Term::Variable(all) => {
                all.extend(names);
                operand.at = first.at;
                Ok(Some(operand))
            }
            Term::Bool(_) | Term::String(..) | Term::Number(_) | Term::Nil | Term::Dot => {
                self.refuse(&format!("unexpected . after term {}", quote::quoted(&operand.to_string())))
            }
            _ => Ok(Some(Operand { at: first.at, term: Term::Chain(Box::new(operand), names) })),
        }
    }

    fn term(&mut self, scope: &mut Scope) -> Parsed<Option<Operand>> {
        let word = self.take();
        let term = match word.kind {
            Kind::Identifier if functions::is_known(&word.text) => Term::Function(word.text),
            Kind::Identifier => {
                return self.refuse(&format!("function {} not defined", quote::quoted(&word.text)));
            }
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Bool => Term::Bool(word.text == "true"),
            Kind::Variable if scope.variables.contains(&word.text) => Term::Variable(vec![word.text]),
            Kind::Variable => return self.refuse(&format!("undefined variable {}", quote::quoted(&word.text))),
            Kind::Field => Term::Field(vec![word.text[1..].to_owned()]),
            Kind::Number => Term::Number(number::number(&word.text).or_else(|why| self.refuse(&why))?),
            Kind::Char => Term::Number(number::character(&word.text).or_else(|why| self.refuse(&why))?),
            Kind::Quoted | Kind::Raw => Term::String(word.text.clone(), self.string(&word)?),
            Kind::Left => {
                let pipe = self.deeper(|parser| parser.pipe(scope, "parenthesized pipeline", Kind::Right))?;
                Term::Pipe(Box::new(pipe))
            }
            _ => {
                self.next -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { at: word.at, term }))
    }
}

/// Nothing but space.
fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}
